"""Open WebUI, started beside the server: it finds the model over both dialects, and a chat gets its answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from checks import ANSWER, MODEL, QUESTION, URL, check, done

WAIT_S = 240.0  # for its start, which migrates a database


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


PORT = free_port()
OWN = f"http://127.0.0.1:{PORT}"


def asked(path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(OWN + path, data, headers), timeout=60) as reply:
        return json.load(reply)


def wait() -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            asked("/health")
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(1.0)


server = subprocess.Popen(
    [Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", str(PORT)],
    env={
        **os.environ, "DATA_DIR": tempfile.mkdtemp(), "WEBUI_AUTH": "False", "OPENAI_API_BASE_URL": f"{URL}/v1",
        "OPENAI_API_KEY": "unused", "OLLAMA_BASE_URL": URL, "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "true", "RAG_EMBEDDING_ENGINE": "openai", "ENABLE_PERSISTENT_CONFIG": "False",
    },
    stdout=subprocess.DEVNULL,
)  # fmt: skip
try:

    @check("its start")
    def start() -> None:
        wait()

    @check("the model over both dialects, and an answer by each")
    def chats() -> None:
        token = asked("/api/v1/auths/signin", {"email": "", "password": ""})["token"]
        found = {model["id"] for model in asked("/api/models", token=token)["data"]}
        assert {MODEL, f"{MODEL}:latest"} <= found, found
        for name in (MODEL, f"{MODEL}:latest"):
            body = {"model": name, "stream": False, "messages": [{"role": "user", "content": QUESTION}]}
            reply = asked("/api/chat/completions", body, token)
            assert ANSWER in reply["choices"][0]["message"]["content"], reply
finally:
    server.terminate()
    server.wait(30)

done()
