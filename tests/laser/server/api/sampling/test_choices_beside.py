"""Several replies and log-probabilities beside what else holds or reads a reply: schemas, tools, progress, dialects."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from laser.server.api.tools.reply import ToolReply
from models.tools.form import CallFormat
from models.tools.reader import reader_of
from tests.laser.server.api.sampling.test_choices_api import chunks, post
from tests.laser.server.api.test_tools import PLAN, valid
from tests.support.live_server import WAIT_S, LiveServer, chat

CHATS = "/v1/chat/completions"
DRAWN: dict[str, Any] = {"temperature": 1.0, "seed": 5, "max_tokens": 300}
SCHEMA = {
    "type": "object", "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 999}},
    "required": ["answer"], "additionalProperties": False,
}  # fmt: skip
FORM = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}


def spelled(places: list[dict[str, Any]]) -> str:
    return b"".join(bytes(place["bytes"]) for place in places).decode()


def test_each_of_several_replies_holds_to_a_schema_with_the_models_own_log_probabilities(server: LiveServer) -> None:
    body = chat(**DRAWN, n=2, response_format=FORM, logprobs=True, top_logprobs=1)
    choices = post(server, CHATS, **body)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    for choice in choices:
        assert 0 <= json.loads(choice["message"]["content"])["answer"] <= 999
        assert spelled(choice["logprobs"]["content"]).strip() == choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
        assert choice["laser"]["answer"] == "structured"


def test_each_of_several_replies_has_calls_of_its_own(server: LiveServer) -> None:
    body = chat(**DRAWN, n=2, tools=[PLAN], tool_choice="required", logprobs=True, thinking_budget=8)
    whole = post(server, CHATS, **body)["choices"]
    made = [choice["message"]["tool_calls"] for choice in whole]
    assert all(valid(call) for calls in made for call in calls)
    assert len({call["id"] for calls in made for call in calls}) == sum(map(len, made))
    assert {choice["finish_reason"] for choice in whole} == {"tool_calls"}
    assert not any((choice["logprobs"] or {}).get("content") for choice in whole)  # there is no text beside the calls
    pieces: dict[int, dict[int, str]] = {0: {}, 1: {}}
    for part in chunks(server, CHATS, **body):
        for choice in part["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                mine = pieces[choice["index"]]
                mine[piece["index"]] = mine.get(piece["index"], "") + piece["function"]["arguments"]
    assert pieces == {
        choice["index"]: {at: call["function"]["arguments"] for at, call in enumerate(choice["message"]["tool_calls"])}
        for choice in whole
    }


def test_progress_and_probes_name_their_reply_where_there_are_several(confident: LiveServer) -> None:
    body = {"max_tokens": 380, "laser": {"progress": True, "probes": True}}
    notices = [part["laser"] for part in chunks(confident, CHATS, **chat(n=2, **body)) if not part["choices"]]
    begun = [told for notice in notices for told in notice.values() if told.get("stage") != "waiting"]
    assert {told["index"] for told in begun} == {0, 1}
    assert {kind for notice in notices for kind in notice} == {"progress", "probe"}
    alone = [part["laser"] for part in chunks(confident, CHATS, **chat(**body)) if not part["choices"]]
    assert not any("index" in told for notice in alone for told in notice.values())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"messages": [{"role": "user", "content": "?"}], "max_tokens": 8}),
        ("/v1/responses", {"input": "?"}),
        ("/api/chat", {"model": "confident", "messages": [{"role": "user", "content": "?"}]}),
        ("/api/generate", {"model": "confident", "prompt": "?"}),
    ],
)
def test_where_there_is_room_for_one_reply_more_are_refused_by_name(
    confident: LiveServer, path: str, body: dict[str, Any]
) -> None:
    reply = httpx.post(f"{confident.url}{path}", json={**body, "n": 2}, trust_env=False, timeout=WAIT_S)
    assert reply.status_code == 400
    assert "n: is 2, must be 1" in reply.text


def test_the_log_probabilities_beside_a_call_are_those_of_the_text() -> None:
    written = [
        "I ",
        "look",
        ".<",
        "tool",
        "_call>",
        '\n{"name": "f", "arguments": {}}',
        "\n</tool",
        "_call>",
        "\nSo",
        ".",
    ]
    said = [
        Delta(channel=Channel.CONTENT, text=text, scores=(TokenScore(at, -0.5),)) for at, text in enumerate(written)
    ]
    reader = reader_of(CallFormat.HERMES, {"f": {}}, eager=False)
    told = [item for item in ToolReply(reader).told(said) if isinstance(item, Delta)]
    assert "".join(item.text for item in told) == "I look.So."
    assert [score.token for item in told for score in item.scores] == [0, 1, 2, 8, 9]
