"""A surface is one file and one line: it is served, says in its own words what was wrong, and is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from laser.server.api import surfaces
from laser.server.config import ServeConfig
from tests.support.live_server import WAIT_S, LiveServer, running, save_confident_model
from tests.support.toy_surface import TOY

KEY = "sk-toy-0123456789"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with one more surface, whose errors also come from where no surface is entered yet."""
    directory = tmp_path_factory.mktemp("toy")
    model = save_confident_model(directory / "model")
    keys = directory / "keys.yaml"
    keys.write_text(f"keys: [{{name: me, key: {KEY}}}]", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surfaces, "SURFACES", (*surfaces.SURFACES, TOY))  # the one line
        with running(ServeConfig(model=model, keys=keys, max_body=2048)) as live:
            yield live


def ask(server: LiveServer, path: str = TOY.path, key: str = KEY, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(server.url + path, json=body, headers=headers, trust_env=False, timeout=WAIT_S)


def test_a_new_surface_answers_whole(toy: LiveServer) -> None:
    reply = ask(toy, question="What is 3 + 4?", length=400)
    assert reply.status_code == 200, reply.text
    assert reply.json()["id"].startswith("toy-")
    assert reply.json()["answer"] == "**Final Answer**\n\\boxed{7}"
    assert reply.json()["thought_tokens"] > 0


def test_a_new_surface_streams(toy: LiveServer) -> None:
    reply = ask(toy, question="What is 3 + 4?", length=400, stream=True)
    *pieces, end = [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line]
    whole = ask(toy, question="What is 3 + 4?", length=400).json()
    assert "".join(piece["piece"] for piece in pieces) == whole["answer"]
    assert end == {"thought_tokens": whole["thought_tokens"]}


@pytest.mark.parametrize(
    ("request_", "status", "wrong"),
    [
        ({"length": 8}, 400, "question is missing"),  # from the application
        ({"question": "x", "length": 10**9}, 400, "length is 1000000000, must be at most"),  # from the service
        ({"question": "x", "key": "sk-mallory"}, 401, "the key is not known here"),  # from the gate
        ({"question": "x" * 4096}, 413, "the body must have at most 2048 bytes"),
    ],
)
def test_a_new_surface_has_errors_of_its_own(
    toy: LiveServer, request_: dict[str, Any], status: int, wrong: str
) -> None:
    reply = ask(toy, **request_)
    assert reply.status_code == status
    assert set(reply.json()) == {"wrong", "status"}
    assert wrong in reply.json()["wrong"]
    elsewhere = ask(toy, **request_, path="/v1/chat/completions")
    assert set(elsewhere.json()) == {"error"}


def test_a_head_too_large_is_refused_in_the_words_of_its_surface(toy: LiveServer) -> None:
    for path, key in ((TOY.path, "wrong"), ("/v1/responses", "error")):
        reply = httpx.post(f"{toy.url}{path}?q=1", headers={"x": "y" * 65536}, trust_env=False, timeout=WAIT_S)
        assert (reply.status_code, next(iter(reply.json()))) == (431, key)


def test_a_wrong_method_is_refused_in_the_words_of_its_surface(toy: LiveServer) -> None:
    reply = httpx.get(
        f"{toy.url}{TOY.path}", headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=WAIT_S
    )
    assert reply.json() == {"wrong": f"{TOY.path} does not take GET, only POST", "status": 405}


def test_a_new_surface_is_described(toy: LiveServer) -> None:
    url, headers = f"{toy.url}/openapi.json", {"authorization": f"Bearer {KEY}"}
    schema = httpx.get(url, headers=headers, trust_env=False, timeout=WAIT_S).json()
    (operation,) = schema["paths"][TOY.path].values()
    assert (operation["summary"], operation["description"]) == ("Ask", "Answer a question.")
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].endswith("/ToyQuestion")
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/ToyError")
    chat = schema["paths"]["/v1/chat/completions"]["post"]["responses"]["400"]
    assert chat["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorReply")


def test_every_surface_has_a_path_and_a_prefix_of_its_own() -> None:
    for names in zip(*((each.path, each.name, each.prefix) for each in surfaces.SURFACES), strict=True):
        assert len(set(names)) == len(surfaces.SURFACES)
