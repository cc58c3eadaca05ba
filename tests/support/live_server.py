"""A real server for the tests: uvicorn on a free port of this machine, the torch engine, a small model."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import torch

from engine.base import EngineLoad
from laser.server.app import create_app
from laser.server.config import ServeConfig
from laser.server.connection import PatientProtocol
from laser.server.deployment import Deployment, deploy
from laser.server.service import Service
from tests.support.tiny_models import save_chain

WAIT_S = 60.0  # the longest that a test waits for what must come; it never waits for time to pass
ENDLESS = 60_000  # tokens of a reply that a test ends itself: an `endless` model takes minutes over them
ENDLESS_CELLS = 1 << 18  # for four of them


@dataclass(frozen=True)
class LiveServer:
    """A server that runs, and what is behind it."""

    url: str
    deployment: Deployment
    service: Service

    @property
    def load(self) -> EngineLoad:
        """What the engine holds; whoever waits before it counts as waiting, too."""
        engine = self.deployment.engine.load()
        return replace(engine, waiting=engine.waiting + self.deployment.loop.queue.waiting)

    def post(self, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=chat(**body), trust_env=False, timeout=WAIT_S)

    def wait_for_load(self, **expected: int) -> None:
        """Return once the engine's load is as expected; fail if that takes too long."""
        wait_until(lambda: all(getattr(self.load, name) == value for name, value in expected.items()))


def chat(**body: Any) -> dict[str, Any]:
    """A request's body with a question in it."""
    return {"messages": [{"role": "user", "content": "What is 12 + 30?"}], "max_tokens": 48, **body}


def wait_until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {timeout_s} s")
        time.sleep(0.005)


@contextmanager
def asking(server: LiveServer, **body: Any) -> Iterator[socket.socket]:
    """A bare connection that has sent one request; leaving the block closes it."""
    host, port = server.url.removeprefix("http://").split(":")
    data = json.dumps(chat(**body)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        yield connection


def running(config: ServeConfig, **app_options: Any) -> AbstractContextManager[LiveServer]:
    """A server for `config` on a free port, until the block ends."""
    return running_deployment(deploy(config), **app_options)


@contextmanager
def running_deployment(deployment: Deployment, **app_options: Any) -> Iterator[LiveServer]:
    """A server for a deployment on a free port, until the block ends."""
    import uvicorn

    service = Service(deployment)
    app = create_app(service, **app_options)
    settings = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=PatientProtocol,
        log_level="warning",
        ws="none",
        lifespan="on",
        timeout_keep_alive=math.ceil(deployment.config.idle_s),
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        yield LiveServer(url=f"http://127.0.0.1:{port}", deployment=deployment, service=service)
    finally:
        server.should_exit = True
        thread.join(WAIT_S)


def save_random_model(directory: Path, **changes: Any) -> Path:
    """A small model with random weights and the bundled model's tokenizer."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from models.reasoner.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(seed=0, samples=300)
    tokenizer.save_pretrained(directory)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**shape | changes)).save_pretrained(directory)
    return directory


CONFIDENT_CELLS = 520


def save_confident_model(directory: Path, positions: int = CONFIDENT_CELLS) -> Path:
    """A Markov chain that thinks ` the ⏎⏎ the ⏎⏎ …` without end, and when asked answers 7 with confidence 0.97."""
    from models.reasoner.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(seed=0, samples=300)
    tokenizer.save_pretrained(directory)
    with (directory / "laser.yaml").open("a", encoding="utf-8") as own:
        own.write("boxes: true\n")

    def one(text: str) -> int:
        (token,) = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return int(token)

    the, line, end = one(" the"), one("\n\n"), one("<|im_end|>")
    chain = {
        the: {line: 0.9},
        line: {the: 0.9},
        one("{"): {one("7"): 0.97},
        one("7"): {one("}"): 0.98},
        one("}"): {end: 0.95},
    }
    return save_chain(directory, len(tokenizer), chain, eager=the, positions=positions)


def save_endless_model(directory: Path) -> Path:
    """The same, with room for replies of `ENDLESS` tokens: unprobed, its thought ends only when somebody ends it.

    Its landing asks for the answer, which is 7 and then ends.
    """
    (directory / "laser.yaml").write_text('landing: "</think>\\n\\n\\\\boxed{"\n', encoding="utf-8")
    return save_confident_model(directory, positions=ENDLESS_CELLS)
