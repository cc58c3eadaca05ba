"""The dashboard's chat in headless Chromium: a conversation, Markdown, formulas, tool calls; text stays text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from laser.server.config import ServeConfig
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, LiveServer, running, wait_until

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
SHORT = "What is 3 + 4? Put the answer in \\boxed{}."
SPY = """
window.asked = [];
window.scripted = arguments[0];
const send = window.fetch;
window.fetch = (path, options) => {
  if (!String(path).includes("chat/completions")) return send(path, options);
  window.asked.push(JSON.parse(options.body));
  if (!window.scripted.length) return send(path, options);
  return Promise.resolve(new Response(window.scripted.shift()));
};
"""
RENDER = """
const [texts, done] = arguments;
import("/markdown.js").then(({ rendered }) => done(texts.map((text) => {
  const made = document.createElement("div");
  made.append(...rendered(text));
  document.body.append(made);  // so that what could run would
  const html = made.innerHTML;
  const names = [...new Set([...made.querySelectorAll("*")].flatMap((node) => [
    node.localName, ...[...node.attributes].map(({ name }) => `${node.localName}.${name}`)]))];
  const links = [...made.querySelectorAll("[href]")].map((node) => node.getAttribute("href"));
  made.remove();
  return { html, names, links };
})), (error) => done(String(error)));
"""


def text(browser: webdriver.Chrome, where: str) -> str:
    return str(
        browser.execute_script("return [...document.querySelectorAll(arguments[0])].at(-1)?.textContent ?? ''", where)
    )


def opened(browser: webdriver.Chrome, server: LiveServer, *scripted: str) -> None:
    """Opens the page, and has its first requests for a reply answered as scripted."""
    browser.get(server.url)
    browser.execute_script(SPY, list(scripted))
    browser.get_log("browser")


def say(browser: webdriver.Chrome, words: str) -> None:
    turns = len(browser.find_elements(By.CSS_SELECTOR, ".turn"))
    browser.find_element(By.ID, "question").send_keys(words, Keys.ENTER)
    over(browser, turns + 1)


def over(browser: webdriver.Chrome, turns: int) -> None:
    """Waits until so many turns are there and the last is over."""
    wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".turn")) == turns, PATIENCE_S)
    wait_until(lambda: browser.find_element(By.ID, "send").is_enabled(), PATIENCE_S)


def asked(browser: webdriver.Chrome) -> list[list[dict[str, Any]]]:
    """The messages of each request."""
    found: list[list[dict[str, Any]]] = browser.execute_script("return window.asked.map((each) => each.messages)")
    return found


def stream(*deltas: dict[str, Any], finish: str = "stop") -> str:
    """A scripted reply, in OpenAI's form."""
    laser = {"exit_reason": "natural", "reasoning_tokens": 3, "probes": 0, "total_ms": 5.0}
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish}], "laser": laser})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def rendered(browser: webdriver.Chrome, *texts: str) -> list[dict[str, Any]]:
    found = browser.execute_async_script(RENDER, list(texts))
    assert isinstance(found, list), found
    return found


def test_a_conversation_goes_on_is_asked_again_and_begins_anew(
    browser: webdriver.Chrome, confident: LiveServer
) -> None:
    opened(browser, confident)
    say(browser, SHORT)
    say(browser, SHORT)
    first, second = asked(browser)
    assert [each["role"] for each in first] == ["user"]
    assert [each["role"] for each in second] == ["user", "assistant", "user"]
    assert second[1]["content"] == "**Final Answer**\n\\boxed{7}"
    assert second[1]["reasoning_content"].startswith("the")
    assert [each.get_attribute("open") for each in browser.find_elements(By.CSS_SELECTOR, ".turn details")] == [
        None,
        "true",
    ]
    browser.find_element(By.ID, "retry").click()
    over(browser, 2)
    assert asked(browser)[2] == second
    browser.find_element(By.ID, "keep").find_element(By.XPATH, "./ancestor::details/summary").click()
    browser.find_element(By.ID, "keep").click()
    browser.find_element(By.ID, "system").send_keys("Be brief.")
    say(browser, SHORT)
    assert [(each["role"], each["content"]) for each in asked(browser)[3]] == [
        ("system", "Be brief."),
        ("user", SHORT),
    ]
    browser.find_element(By.ID, "new").click()
    assert browser.find_elements(By.CSS_SELECTOR, ".turn") == []
    assert browser.switch_to.active_element.get_attribute("id") == "question"
    assert not browser.find_element(By.ID, "retry").is_enabled()
    assert browser.get_log("browser") == []


@pytest.fixture
def tireless(endless_model: Path) -> Iterator[LiveServer]:
    """A server whose replies take minutes unless they are stopped."""
    config = ServeConfig(
        model=endless_model, name="tireless", max_batch=1, cells=ENDLESS_CELLS, early_exit=False, loop_detection=False,
        default_max_tokens=ENDLESS,
    )  # fmt: skip
    with running(config) as live:
        yield live


def test_escape_stops_a_reply_and_frees_its_request(browser: webdriver.Chrome, tireless: LiveServer) -> None:
    opened(browser, tireless)
    browser.find_element(By.ID, "question").send_keys("Think.", Keys.ENTER)
    wait_until(
        lambda: " tokens" in text(browser, ".turn summary") and text(browser, ".turn .thought") != "", PATIENCE_S
    )
    browser.find_element(By.ID, "question").send_keys(Keys.ESCAPE)
    over(browser, 1)
    assert text(browser, ".turn .why") == "Stopped by you."
    tireless.wait_for_load(running=0, waiting=0)
    assert browser.find_element(By.ID, "retry").is_enabled()


CALLS = stream(
    {"reasoning": "I need the weather."},
    {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo <b>"}'}}]},
    {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "time", "arguments": "{}"}}]},
    finish="tool_calls",
)


def test_tool_calls_are_shown_and_their_results_go_back(browser: webdriver.Chrome, confident: LiveServer) -> None:
    opened(browser, confident, CALLS, stream({"content": "It rains."}))
    say(browser, "What is the weather in Oslo?")
    calls = [(each.find_element(By.TAG_NAME, "code").text, each.find_element(By.TAG_NAME, "pre").text)
             for each in browser.find_elements(By.CSS_SELECTOR, ".call")]  # fmt: skip
    assert calls == [("weather", '{\n "city": "Oslo <b>"\n}'), ("time", "{}")]
    fields = browser.find_elements(By.CSS_SELECTOR, ".results textarea")
    assert [each.accessible_name for each in fields] == ["What weather returns", "What time returns"]
    assert browser.switch_to.active_element == fields[0]
    fields[0].send_keys("rain")
    fields[1].send_keys("noon")
    browser.find_element(By.CSS_SELECTOR, ".results button").click()
    over(browser, 2)
    user, assistant, *results = asked(browser)[1]
    assert user["role"] == "user"
    assert assistant["tool_calls"][0] == {
        "id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo <b>"}'},
    }  # fmt: skip
    assert results == [
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
    ]
    assert text(browser, ".turn .answer") == "It rains."


MARKDOWN = {
    "**a** *b* `c<d` ~~e~~\nnext": "<p><strong>a</strong> <em>b</em> <code>c&lt;d</code> <del>e</del><br>next</p>",
    "# Title\n\n- [x] done\n- open": "<h4>Title</h4><ul><li>☑ done</li><li>open</li></ul>",
    "3. three": '<ol start="3"><li>three</li></ol>',
    "**Final Answer**\n\\boxed{13}": '<p><strong>Final Answer</strong><br><span class="boxed">13</span></p>',
    "It costs $5 and $6, not $x.": "<p>It costs $5 and $6, not $x.</p>",
    "a &lt; b &amp;&#33;": "<p>a &lt; b &amp;!</p>",
}
FORMULAS = [
    "$x^2$",
    "\\(\\frac{1}{2}\\)",
    "$$\n\\int_0^1 x\\,dx\n$$",
    "\\[ a_b \\]",
    "\\begin{align*}a&=b\\end{align*}",
    "\\boxed{\\frac12}",
]


def test_markdown_and_formulas_become_elements(browser: webdriver.Chrome, confident: LiveServer) -> None:
    opened(browser, confident)
    assert [each["html"] for each in rendered(browser, *MARKDOWN)] == list(MARKDOWN.values())
    for written, made in zip(FORMULAS, rendered(browser, *FORMULAS), strict=True):
        assert "math" in made["names"], written
        assert "code" not in made["names"], written
    (table,) = rendered(browser, "| a | b |\n|:-|-:|\n| 1 | $x_1$ |")
    assert {"table", "th", "td", "math"} <= set(table["names"])
    (wrong,) = rendered(browser, "$\\frac{$ and $\\nosuch{x}$")
    assert "math" not in wrong["names"]  # shown as it is written


RUN = "window.hit = 1"
HOSTILE = [
    f"<script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f"<svg onload='{RUN}'></svg>",
    f"<iframe srcdoc='<script>{RUN}</script>'>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](java&#115;cript:{RUN})",
    f"[x](&#x6a;avascript:{RUN})",
    f"[x](java\tscript:{RUN})",
    f"[x](\x01javascript:{RUN})",
    f"[x](<javascript:{RUN}>)",
    f"[x](vbscript:{RUN})",
    f"[x](data:text/html,<script>{RUN}</script>)",
    f"<javascript:{RUN}>",
    f"![x](javascript:{RUN})",
    "![x](http://127.0.0.1:9/x.png)",
    f"[x]: javascript:{RUN}\n\n[x]",
    f"[x](http://e.org \"' onmouseover='{RUN}\")",
    f"```<img src=x onerror={RUN}>\n</code><script>{RUN}</script>\n```",
    f"`</code><img src=x onerror={RUN}>`",
    f"| <img src=x onerror={RUN}> |\n|-|\n| <script>{RUN}</script> |",
    f"# <style>*{{display:none}}</style><script>{RUN}</script>",
    f"$\\href{{javascript:{RUN}}}{{x}}$",
    f"$\\text{{<img src=x onerror={RUN}>}}$",
    f"$\\url{{javascript:{RUN}}}$",
    "$\\includegraphics{http://127.0.0.1:9/x.png}$",
    f"$\\style{{x:url(javascript:{RUN})}}{{y}}$",
    f'$\\class{{a" onmouseover="{RUN}}}{{y}}$',
    f"$\\color{{red;background:url(javascript:{RUN})}}{{y}}$",
    f"\\boxed{{<img src=x onerror={RUN}>}}",
    "$\\def\\a{\\a\\a}\\a$",
    ">" * 20_000,
    "[" * 20_000,
    "*a **b _c [" * 400,
    "$" * 5_000 + "\\[" * 5_000,
    "&lt;script&gt;&#60;script&#62;&#99999999;&#x110000;",
    "__proto__ constructor toString",
    f"<!--<img src='--><img src=x onerror={RUN}>",
    f"<math><mtext></p><script>{RUN}</script>",
]
ALLOWED = """
    p strong em del code br span div pre ul ol li h4 blockquote table thead tbody tr th td a
    math mrow mi mo mn mtext mstyle mpadded mspace semantics
    """


def test_hostile_text_stays_text(browser: webdriver.Chrome, confident: LiveServer) -> None:
    opened(browser, confident, *(stream({"content": each}) for each in HOSTILE))
    for hostile in HOSTILE:
        browser.find_element(By.ID, "question").send_keys("?", Keys.ENTER)
        over(browser, browser.execute_script("return document.querySelectorAll('.turn').length"))
        assert "No answer" not in text(browser, ".turn .why"), hostile
    elements, attributes, links = browser.execute_script("""
      const all = [...document.querySelectorAll(".answer *")];
      return [all.map((node) => node.localName),
        all.flatMap((node) => [...node.attributes].map(({ name, value }) => [name, value])),
        all.filter((node) => node.hasAttribute("href")).map((node) => new URL(node.href).protocol)];
    """)
    assert set(elements) <= {*ALLOWED.split()}
    assert [each for each in attributes if each[0].startswith(("on", "src")) or "url(" in each[1]] == []
    assert set(links) <= {"http:", "https:"}
    assert browser.execute_script("return window.hit ?? null") is None
    assert browser.get_log("browser") == []  # nothing was fetched, and nothing refused by the page's policy


SUM = "+".join(f"a_{{{n}}}" for n in range(40))
WIDE = f"""
| a | b | c | d | e | f |
|-|-|-|-|-|-|
| a long cell | another | one more | and more | still more | the last |

```
x = {"1234567890" * 12}
```

$$ {SUM} $$

{"Donaudampfschiff" * 9}
"""


def test_a_phone_shows_all_and_every_control_has_a_name(browser: webdriver.Chrome, confident: LiveServer) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        opened(browser, confident, stream({"reasoning": "hm"}, {"content": WIDE}), CALLS)
        say(browser, "Something wide?")
        say(browser, "A call?")
        browser.execute_script("document.querySelectorAll('#chat details').forEach((each) => { each.open = true; })")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        controls = browser.find_elements(By.CSS_SELECTOR, "#chat :is(button, textarea, input, [tabindex])")
        nameless = [
            each.get_attribute("outerHTML") for each in controls if each.is_displayed() and not each.accessible_name
        ]
        assert nameless == []
        sizes = [each.size["height"] for each in browser.find_elements(By.CSS_SELECTOR, "#ask button")]
        assert min(sizes) >= 30
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_keyboard_goes_through_the_chat_in_its_order(browser: webdriver.Chrome, confident: LiveServer) -> None:
    opened(browser, confident, stream({"content": "Yes."}))
    say(browser, "Is it?")
    browser.find_element(By.ID, "question").click()
    reached = []
    for _ in range(6):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.accessible_name)
    assert reached[:3] == ["Ask", "Retry", "New chat"]  # there is nothing to stop
    assert reached[5] == "Options"
