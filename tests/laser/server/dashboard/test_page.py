"""The dashboard in headless Chromium: it lives, follows the load, chats, and says nothing on the console."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from laser.server.config import ServeConfig
from tests.support.live_server import LiveServer, running, wait_until

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
SECRET = "a-key-for-the-page"
SHORT = "What is 3 + 4? Put the answer in \\boxed{}."


def text(browser: webdriver.Chrome, where: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", where))


def test_the_page_follows_the_load_and_tells_why_thoughts_stopped(
    browser: webdriver.Chrome, confident: LiveServer
) -> None:
    browser.get(confident.url)
    wait_until(lambda: text(browser, "#connection") == "live", PATIENCE_S)
    wait_until(lambda: text(browser, "#policy") == "policy: fixed", PATIENCE_S)
    before = text(browser, "#tiles")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: confident.post(max_tokens=400), range(8)))
    assert all(reply.status_code == 200 for reply in replies)
    wait_until(lambda: "sure: 0.97 ≥ 0.90" in text(browser, "#ended"), PATIENCE_S)
    wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#latency .dot")) >= 8, PATIENCE_S)
    # the server has served other tests, too: all of the above may be there before the page's next look
    wait_until(lambda: text(browser, "#tiles") != before, PATIENCE_S)
    assert "any 0.90" in text(browser, "#threshold .legend")
    assert browser.get_log("browser") == []


def test_the_chat_shows_thought_probes_and_answer_by_keyboard_alone(
    browser: webdriver.Chrome, confident: LiveServer
) -> None:
    browser.get(confident.url)
    browser.find_element(By.ID, "question").send_keys(SHORT, Keys.ENTER)
    wait_until(lambda: "Stopped thinking" in text(browser, ".turn .why"), PATIENCE_S)
    assert "Stopped thinking: sure: 0.97 ≥ 0.90" in text(browser, ".turn .why")
    assert text(browser, ".turn .thought").startswith("the")
    assert "probe: 7 · 0.97" in text(browser, ".turn .probe.sure")
    assert text(browser, ".turn .boxed") == "7"
    assert text(browser, "#announcement").startswith("Answer: ")
    assert text(browser, "#knows") == text(browser, "#gained") == ""  # neither the bundled model nor a profile
    assert browser.get_log("browser") == []


IN_VIEW = """
const box = document.querySelector(arguments[0]).getBoundingClientRect();
return box.top >= 0 && box.bottom <= window.innerHeight && box.height > 0;
"""


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (400, 760)])
def test_a_reply_is_in_view_and_the_bundled_model_s_page_tells_what_it_knows_and_saved(
    browser: webdriver.Chrome, server: LiveServer, width: int, height: int
) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(server.url)
        wait_until(lambda: "five kinds of puzzle" in text(browser, "#knows"), PATIENCE_S)
        question = "Here is a list: 37, 32, 68, 12, 51. Find the largest number."
        browser.find_element(By.ID, "question").send_keys(question, Keys.ENTER)
        wait_until(lambda: "Stopped thinking" in text(browser, ".turn .why"), PATIENCE_S)
        for part in (".turn h3", ".turn .probe:last-of-type", ".turn .answer", ".turn .why"):
            wait_until(lambda part=part: bool(browser.execute_script(IN_VIEW, part)), 5.0)
        wait_until(lambda: "against full thought" in text(browser, "#gained"), PATIENCE_S)
        assert "against a fixed threshold of 0.95" in text(browser, "#gained")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_paused_page_stands_still(browser: webdriver.Chrome, confident: LiveServer) -> None:
    browser.get(confident.url)
    wait_until(lambda: text(browser, "#tiles") != "", PATIENCE_S)
    browser.find_element(By.ID, "pause").click()
    held = text(browser, "#ended tbody")
    confident.post(max_tokens=400)
    browser.find_element(By.ID, "question").send_keys(SHORT, Keys.ENTER)
    wait_until(lambda: "Stopped thinking" in text(browser, ".turn .why"), PATIENCE_S)
    assert text(browser, "#ended tbody") == held
    browser.find_element(By.ID, "pause").click()
    wait_until(lambda: text(browser, "#ended tbody") != held, PATIENCE_S)


@pytest.fixture(scope="module")
def locked(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that wants a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.yaml"
    keys.write_text(f"keys:\n  - {{name: app, key: {SECRET}}}\n")
    with running(ServeConfig(model=random_model, name="locked", keys=keys)) as live:
        yield live


def give(browser: webdriver.Chrome, key: str) -> None:
    browser.find_element(By.ID, "key-text").send_keys(key, Keys.ENTER)


def test_a_page_without_a_key_says_what_to_do_and_lives_once_it_has_one(
    browser: webdriver.Chrome, locked: LiveServer
) -> None:
    browser.get(locked.url)
    field = browser.find_element(By.ID, "key-text")
    wait_until(field.is_displayed, PATIENCE_S)
    wait_until(lambda: text(browser, "#connection") == "needs a key", PATIENCE_S)
    assert "Enter one, or ask whoever runs the server" in text(browser, "#key-note")
    assert browser.switch_to.active_element == field
    give(browser, "ключ")
    assert "ASCII only" in text(browser, "#key-note")
    field.clear()
    give(browser, "wrong")
    wait_until(lambda: "does not take this key" in text(browser, "#key-note"), PATIENCE_S)
    give(browser, SECRET)
    wait_until(lambda: text(browser, "#connection") == "live", PATIENCE_S)
    assert not field.is_displayed()
    browser.get_log("browser")  # Chromium tells of each 401
    browser.find_element(By.ID, "question").send_keys(SHORT, Keys.ENTER)
    wait_until(lambda: bool(text(browser, ".turn .why")), 2 * PATIENCE_S)
    assert "No answer" not in text(browser, ".turn .why")
    assert browser.get_log("browser") == []


def test_a_key_stays_in_its_tab_and_can_be_forgotten(browser: webdriver.Chrome, locked: LiveServer) -> None:
    browser.get(locked.url)
    browser.execute_script("sessionStorage.clear()")
    browser.refresh()
    wait_until(browser.find_element(By.ID, "key-text").is_displayed, PATIENCE_S)
    give(browser, SECRET)
    wait_until(lambda: text(browser, "#connection") == "live", PATIENCE_S)
    browser.refresh()
    wait_until(lambda: text(browser, "#connection") == "live", PATIENCE_S)
    assert browser.execute_script("return localStorage.length + document.cookie.length") == 0
    browser.find_element(By.ID, "forget").click()
    wait_until(lambda: text(browser, "#connection") == "needs a key", PATIENCE_S)
    assert browser.execute_script("return sessionStorage.length") == 0


def test_nothing_overflows_at_the_width_of_a_phone(browser: webdriver.Chrome, confident: LiveServer) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(confident.url)
        wait_until(lambda: text(browser, "#tiles") != "", PATIENCE_S)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
