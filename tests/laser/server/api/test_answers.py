"""The kind of answer: what a request's fields say of it goes before its words, and the reply tells it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from controller.serving.request import ReasoningRequest
from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.errors import BadRequest
from laser.server.api.fields import AnswerWord, GenerationFields, Slo
from laser.server.api.responses import ResponsesRequest
from laser.server.config import ServeConfig
from laser.server.engine_process.served import ServedModel, read_chat
from laser.server.keys import ANYBODY
from laser.server.preparation import Preparation
from models.kinds.kind import AnswerForm, AnswerKind
from models.profile.difficulty import FEATURES, Difficulty
from tests.support.live_server import LiveServer

QUESTION = "What is 12 + 30?"
PROGRAM = "Write a Python function that adds two numbers."
SHORT, STRUCTURED, CODE, OPEN = AnswerKind

Prepared = Callable[[GenerationFields], ReasoningRequest]


def prepared_by(config: ServeConfig, difficulty: Difficulty | None = None) -> Prepared:
    chat = read_chat(config)
    served = ServedModel(
        model_id="m", config=config, chat=chat, room=2048, engine="none", difficulty=difficulty,
        grammars=chat.grammars(),
    )  # fmt: skip
    preparation = Preparation(served)
    return lambda request: preparation.request(request, 0, "x", ANYBODY, Slo())


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Of the bundled model, which writes every short answer in a box."""
    return prepared_by(ServeConfig())


@pytest.fixture(scope="module")
def openly() -> Prepared:
    """Of a model without markers that reasons in the open."""
    return prepared_by(ServeConfig(thinking=Path("open")))


def chat(asked: str, system: str | None = None, **options: Any) -> ChatRequest:
    messages = [{"role": "system", "content": system}] if system else []
    return ChatRequest(messages=[*messages, {"role": "user", "content": asked}], max_tokens=100, **options)


def test_each_surface_tells_its_words(prepared: Prepared) -> None:
    for asked, kind in ((QUESTION, SHORT), (PROGRAM, CODE)):
        rendered = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        requests = [
            chat(asked),
            ResponsesRequest(input=asked),
            TextRequest(prompt=asked),
            TextRequest(prompt=rendered),
        ]
        assert [prepared(request).answer for request in requests] == [kind] * len(requests)
    told = ResponsesRequest(input=QUESTION, instructions="You always answer in JSON.")
    assert prepared(told).answer is STRUCTURED
    system = "<|im_start|>system\nYou always answer in JSON.<|im_end|>\n"
    assert prepared(TextRequest(prompt=f"{system}<|im_start|>user\n{QUESTION}<|im_end|>\n")).answer is STRUCTURED
    assert prepared(chat(QUESTION, "You always answer in JSON.")).answer is STRUCTURED


def test_the_last_users_message_counts(prepared: Prepared) -> None:
    turns = [("user", PROGRAM), ("assistant", "def add(a, b): ..."), ("user", QUESTION), ("assistant", "The")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert prepared(ChatRequest(messages=messages, continue_final_message=True)).answer is SHORT
    assert prepared(ChatRequest(messages=messages[:1])).answer is CODE


@pytest.mark.parametrize("kind", list(AnswerKind))
def test_a_client_may_say_the_kind_itself(prepared: Prepared, kind: AnswerKind) -> None:
    for asked in (QUESTION, PROGRAM):
        assert prepared(chat(asked, laser={"answer": kind.value})).answer is kind


def test_a_box_is_wanted_where_the_prompt_or_the_format_says_so(prepared: Prepared, openly: Prepared) -> None:
    assert prepared(chat(QUESTION)).form is AnswerForm.BOX
    assert openly(chat(QUESTION)).form is AnswerForm.WORDS
    assert openly(chat(f"{QUESTION} Put it in \\boxed{{}}.")).form is AnswerForm.BOX


def test_only_short_answers_are_reasoned_in_the_open(openly: Prepared) -> None:
    assert openly(chat(QUESTION)).thinking
    assert not openly(chat(PROGRAM)).thinking
    assert openly(chat(PROGRAM, laser={"thinking": "open"})).answer is SHORT  # asked for by name
    form = {"type": "json_object"}  # a thought in the content would break it
    assert not openly(chat(QUESTION, response_format=form)).thinking
    with pytest.raises(BadRequest, match=r"laser\.thinking asks for a thought, but .* response_format"):
        openly(chat(QUESTION, response_format=form, laser={"thinking": "open"}))
    with pytest.raises(BadRequest, match=r"laser\.answer is .*'code', but laser\.thinking 'open' is for short answers"):
        openly(chat(QUESTION, laser={"thinking": "open", "answer": "code"}))


def test_a_message_of_the_clients_is_followed_by_no_box_where_none_is_wanted(prepared: Prepared) -> None:
    decode = read_chat(ServeConfig()).tokenizer.decode
    landings = [
        prepared(chat(asked, reasoning_budget_message="Enough.")).landing or () for asked in (QUESTION, PROGRAM)
    ]
    assert [("boxed" in decode(landing), "</think>" in decode(landing)) for landing in landings] == [
        (True, True),
        (False, True),
    ]


def test_the_reply_tells_its_kind(server: LiveServer) -> None:
    for options, kind in (({}, "short"), ({"laser": {"answer": "code"}}, "code")):
        laser = server.post(max_tokens=24, **options).json()["laser"]
        assert laser["answer"] == kind
        assert (laser["threshold"] is None) is (kind != "short")


def test_a_class_is_told_of_what_calibration_asks_for() -> None:
    difficulty = Difficulty(weights=(0.0,) * (2 * FEATURES + 2), bounds=(-2.0, -1.0))
    prepared = prepared_by(ServeConfig(), difficulty)
    assert [prepared(chat(asked)).difficulty for asked in (QUESTION, PROGRAM)] == ["hard", None]
    assert prepared(chat(PROGRAM, laser={"difficulty": "easy"})).difficulty == "easy"


def test_the_words_of_the_api_are_the_kinds() -> None:
    assert get_args(AnswerWord) == tuple(AnswerKind)


def test_an_unknown_kind_is_refused(server: LiveServer) -> None:
    error = server.post(laser={"answer": "long"}).json()["error"]
    assert error["param"] == "laser.answer"
    assert "'long'" in error["message"]
    assert "short" in error["message"]
