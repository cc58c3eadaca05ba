"""An unmodified client gets answers of the form that it asks for, and is told by the field what cannot be done."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest

from tests.support.live_server import WAIT_S, LiveServer


class Sum(pydantic.BaseModel):
    """What the client wants to read."""

    model_config = pydantic.ConfigDict(extra="forbid")

    unit: Literal["books", "coins"]
    total: int
    sure: bool


QUESTION: list[Any] = [{"role": "user", "content": "What is 12 + 30?"}]
SCHEMA = Sum.model_json_schema()
FORM: Any = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True}}


@pytest.fixture(scope="module")
def sdk(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=WAIT_S)


def test_a_client_parses_its_own_class(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.parse(model="little", messages=QUESTION, max_tokens=160, response_format=Sum)
    assert isinstance(reply.choices[0].message.parsed, Sum)
    assert reply.choices[0].finish_reason == "stop"


def test_a_stream_gives_the_same_answer_as_a_whole_reply(sdk: openai.OpenAI) -> None:
    asked: Any = {"model": "little", "messages": QUESTION, "max_tokens": 160, "response_format": FORM}
    whole = sdk.chat.completions.create(**asked).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in sdk.chat.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole
    Sum.model_validate_json(whole or "")


def test_responses_and_completions_are_held_too(sdk: openai.OpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "sum", "schema": SCHEMA}}
    responded = sdk.responses.create(model="little", input="What is 12 + 30?", max_output_tokens=160, text=form)
    assert responded.status == "completed"
    Sum.model_validate_json(responded.output_text)
    extra = {"structured_outputs": {"choice": ["twelve", "forty-two"]}}
    completed = sdk.completions.create(model="little", prompt="12 + 30 is ", max_tokens=40, extra_body=extra)
    assert completed.choices[0].text in ("twelve", "forty-two")
    assert completed.choices[0].finish_reason == "stop"


def test_too_little_room_even_for_the_shortest_answer_is_told(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(model="little", messages=QUESTION, max_tokens=8, response_format=FORM)
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"uniqueItems": True}}}},
            "response_format.json_schema.schema",
            "the keyword uniqueItems at # is not done here",
        ),
        ({"guided_regex": "(a"}, "guided_regex", "unclosed group"),
        ({"guided_choice": ["a", ""]}, "guided_choice", "has an empty text"),
        ({"guided_json": {}, "regex": "a"}, "regex", "is given beside guided_json"),
        ({"grammar": "start: other"}, "grammar", "other"),
    ],
    ids=str,
)
def test_a_form_that_cannot_be_held_is_refused_by_its_field(
    server: LiveServer, body: dict[str, Any], param: str, said: str
) -> None:
    reply = httpx.post(
        f"{server.url}/v1/chat/completions", json={"messages": QUESTION, **body}, trust_env=False, timeout=WAIT_S
    )
    error = json.loads(reply.text)["error"]
    assert reply.status_code == 400
    assert error["param"] == param
    assert said in error["message"]
