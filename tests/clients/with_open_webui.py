"""Open WebUI, started beside the server, which is its OpenAI connection and its Ollama connection.

It is asked as its own page asks it, over its HTTP API, and by its page in Chromium where that and its driver are there.
It reaches nothing else: it is offline, embeds nothing and sends no telemetry.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from checks import ANSWER, MODEL, QUESTION, URL, check, done
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

START_S = 400.0  # its first start compiles itself and makes a database
REPLY_S = 90.0
TAGGED = f"{MODEL}:latest"
WAYS = {"openai": MODEL, "ollama": TAGGED}  # by the connection: the model's name
ASKED = [{"role": "user", "content": QUESTION}]
REPLIES = '[...document.querySelectorAll("#response-content-container")]'  # on its page
SHORT = {"max_tokens": 60}
CLOCK = "get_current_timestamp"
# what its page offers the model unless told otherwise, besides a clock: together 15,900 of the bundled model's tokens
OFFERED = (
    "user_input", "knowledge", "chats", "subagents", "memory", "web_search", "image_generation", "code_interpreter",
    "notes", "channels", "skills", "tasks", "automations", "calendar", "notifications",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


HOME = tempfile.mkdtemp()
PORT = free_port()
SETTINGS = {
    "DATA_DIR": HOME,
    "WEBUI_SECRET_KEY": "unused",
    "WEBUI_AUTH": "False",
    "OPENAI_API_BASE_URLS": f"{URL}/v1",
    "OPENAI_API_KEYS": "unused",
    "OLLAMA_BASE_URLS": URL,
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_ENGINE": "openai",  # no model is loaded for it
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
    "DEFAULT_MODEL_METADATA": '{"capabilities": {"builtin_tools": false, "usage": true}}',
    "CHAT_RESPONSE_MAX_TOOL_CALL_ITERATIONS": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
}


@dataclass
class Session:
    """Somebody who is signed in."""

    token: str = ""

    def open(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Returns the reply as it comes; raises RuntimeError with what it says if it is an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.token}"}
        asked = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, headers)
        try:
            return urllib.request.urlopen(asked, timeout=REPLY_S)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from None

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        with self.open(path, body) as reply:
            return json.load(reply)

    def deltas(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields what the chunks of a streamed chat add."""
        with self.open("/api/chat/completions", {**body, "stream": True}) as reply:
            for line in reply:
                word, _, told = line.decode().strip().partition("data: ")
                if word == "" and told not in ("", "[DONE]"):
                    for choice in json.loads(told).get("choices", []):
                        yield choice["delta"]


me = Session()


def wait() -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            me.ask("/health")
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(1.0)


@dataclass
class Chat:
    """A chat of its page, which Open WebUI keeps."""

    model: str
    id: str | None = None
    last: str | None = None  # the last message

    def turn(self, text: str, **more: Any) -> dict[str, Any]:
        """Sends a message, and returns the model's once the page would show it as done."""
        asked, answer = str(uuid4()), str(uuid4())
        said = {"id": asked, "parentId": self.last, "childrenIds": [], "role": "user", "content": text}
        body = {
            "model": self.model,
            "stream": True,
            "messages": [{"role": "user", "content": text}],  # of a chat that it keeps it takes its own
            "session_id": str(uuid4()),
            "chat_id": self.id,
            "parent_id": self.last,
            "user_message": {**said, "models": [self.model], "timestamp": int(time.time())},
            "message_ids": [{"model_id": self.model, "message_id": answer}],
        }
        self.id = me.ask("/api/chat/completions", {**body, **more})["chat_id"]
        self.last = answer
        deadline = time.monotonic() + REPLY_S
        while True:
            message = me.ask(f"/api/v1/chats/{self.id}")["chat"]["history"]["messages"][answer]
            if message.get("done"):
                return dict(message)
            assert time.monotonic() < deadline, message
            time.sleep(0.5)


def shown(message: dict[str, Any]) -> dict[str, str]:
    """Returns the texts that the page shows, by kind: the thought and the answer."""
    assert "error" not in message, message["error"]
    return {
        item["type"]: "".join(part["text"] for part in item["content"])
        for item in message["output"]
        if item["type"] in ("reasoning", "message")
    }


def offer(verb: str, model: str, kinds: dict[str, bool]) -> None:
    """Has its page offer a model its tools, but those of the kinds that are turned off."""
    meta = {"capabilities": {"builtin_tools": True}, "builtinTools": kinds}
    me.ask(f"/api/v1/models/{verb}", {"id": model, "name": model, "meta": meta, "params": {}})
    me.ask("/api/models?refresh=true")


def chromium(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("headless=new", "disable-dev-shm-usage", "disable-background-networking", "window-size=1280,1400"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={profile}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium will not run as root with it
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


server = subprocess.Popen(
    [Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", str(PORT)],
    env={**os.environ, **SETTINGS},
    cwd=HOME,
    stdout=sys.stderr,
)
try:

    @check("its start, and a user who signs in")
    def start() -> None:
        wait()
        me.token = me.ask("/api/v1/auths/signin", {"email": "", "password": ""})["token"]

    @check("the connections are verified")
    def verified() -> None:
        told = me.ask("/openai/verify", {"url": f"{URL}/v1", "key": "unused"})
        assert [model["id"] for model in told["data"]] == [MODEL], told
        told = me.ask("/ollama/verify", {"url": URL, "key": ""})
        assert told["version"].count(".") == 2, told

    @check("the list of models has it once from each connection")
    def models() -> None:
        found = {model["owned_by"]: model["id"] for model in me.ask("/api/models")["data"]}
        found.pop("arena", None)  # its own, for comparing models
        assert found == WAYS, found

    for way, name in WAYS.items():

        @check(f"{way}: a chat with its thought")
        def whole(name: str = name) -> None:
            body = {"model": name, "messages": ASKED, "stream": False}
            message = me.ask("/api/chat/completions", body)["choices"][0]["message"]
            assert ANSWER in message["content"], message
            assert message["reasoning_content"], message

        @check(f"{way}: a stream with its thought")
        def streamed(name: str = name) -> None:
            deltas = list(me.deltas({"model": name, "messages": ASKED}))
            assert ANSWER in "".join(delta.get("content") or "" for delta in deltas), deltas
            assert "".join(delta.get("reasoning_content") or "" for delta in deltas), deltas

        @check(f"{way}: a chat of its page, two turns")
        def turns(name: str = name) -> None:
            chat = Chat(name)
            for _ in range(2):
                told = shown(chat.turn(QUESTION))
                assert ANSWER in told["message"], told
                assert told["reasoning"], told

        @check(f"{way}: its controls of the sampling and the length are read")
        def controls(name: str = name) -> None:
            params = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "seed": 1, "max_tokens": 12, "stop": ["never"]}
            message = Chat(name).turn(QUESTION, params=params)
            assert ANSWER in shown(message)["message"], message
            assert message["usage"]["output_tokens"] <= 12, message  # of some 40 without a limit

        @check(f"{way}: no thought where its control turns it off")
        def unthought(way: str = way, name: str = name) -> None:
            off = {"think": False} if way == "ollama" else {"reasoning_effort": "none"}
            told = shown(Chat(name).turn(QUESTION, params=off))
            assert set(told) == {"message"}, told

        @check(f"{way}: a title, which is asked for beside the chat")
        def title(name: str = name) -> None:
            said = [*ASKED, {"role": "assistant", "content": ANSWER}]
            body = {"model": name, "messages": said, "chat_id": "local:1"}
            (choice,) = me.ask("/api/v1/tasks/title/completions", body)["choices"]
            assert choice["message"]["content"], choice

    @check("ollama's tags, version, ps and show, through its proxy")
    def proxied() -> None:
        (listed,) = me.ask("/ollama/api/tags")["models"]
        (loaded,) = me.ask("/ollama/api/ps")["models"]
        assert (listed["model"], loaded["model"]) == (TAGGED, TAGGED), (listed, loaded)
        assert me.ask("/ollama/api/version")["version"].count(".") == 2
        assert "thinking" in me.ask("/ollama/api/show", {"model": TAGGED})["capabilities"]

    @check("ollama's generate, and its unloading by keep_alive, through its proxy")
    def generated() -> None:
        with me.open("/ollama/api/generate", {"model": TAGGED, "prompt": QUESTION, "keep_alive": "5m"}) as reply:
            lines = [json.loads(line) for line in reply]
        assert ANSWER in "".join(line["response"] for line in lines), lines
        assert lines[-1]["done"], lines[-1]
        assert me.ask("/api/models/unload", {"model": TAGGED}) == {"status": True}

    if shutil.which("chromium") and shutil.which("chromedriver"):

        @check("its page in Chromium shows the thought and the answer")
        def page() -> None:
            me.ask("/api/v1/users/user/settings/update", {"ui": {"showChangelog": False}})
            browser = chromium(tempfile.mkdtemp())
            try:
                browser.get(f"http://127.0.0.1:{PORT}/?models={MODEL}")
                WebDriverWait(browser, REPLY_S).until(lambda page: page.find_elements(By.ID, "chat-input"))
                browser.find_element(By.ID, "chat-input").send_keys(QUESTION, Keys.ENTER)
                texts: list[str] = []

                def answered(page: webdriver.Chrome) -> bool:
                    texts[:] = page.execute_script(f"return {REPLIES}.map((found) => found.innerText)")
                    return any("Thought for" in text and ANSWER in text for text in texts)

                try:
                    WebDriverWait(browser, REPLY_S).until(answered)
                except TimeoutException:
                    raise AssertionError(texts or browser.find_element(By.TAG_NAME, "body").text) from None
            finally:
                browser.quit()

    for way, name in WAYS.items():

        @check(f"{way}: its page's clock is offered as a tool")
        def clock(name: str = name) -> None:
            before = Chat(name).turn(QUESTION, params=SHORT)
            offer("create", name, dict.fromkeys(OFFERED, False))
            after = Chat(name).turn(QUESTION, params=SHORT)  # which a model of 2M parameters does not understand
            assert shown(after)["message"], after
            assert after["usage"]["input_tokens"] > before["usage"]["input_tokens"] + 100, (before, after)

        if way == "openai":  # Ollama's API has no word for "must"

            @check(f"{way}: its page's clock is called, and tells the time")
            def called(name: str = name) -> None:
                must = {"tool_choice": {"type": "function", "function": {"name": CLOCK}}, "reasoning_effort": "none"}
                items = Chat(name).turn(QUESTION, params={**SHORT, "custom_params": must})["output"]
                # the model must call it again when it has the time, where its limit above ends the turn
                call, *_ = [item for item in items if item["type"] == "function_call"]
                (told,) = [item for item in items if item["type"] == "function_call_output"]
                assert (call["name"], told["call_id"]) == (CLOCK, call["call_id"]), items
                assert "current_iso" in json.dumps(told["output"]), told

        @check(f"{way}: all of its page's tools: an answer, or told that they are too long")
        def tools(name: str = name) -> None:
            offer("model/update", name, {})
            message = Chat(name).turn(QUESTION)
            if "error" in message:
                assert " tokens, must be at most " in message["error"]["content"], message
            else:
                assert ANSWER in shown(message)["message"], message

finally:
    server.terminate()
    server.wait(30)

done()
