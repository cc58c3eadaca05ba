"""Instruct models without markers: served plain by default, and in the open where the server or a request says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.policies.fixed import FixedThreshold
from laser.server.config import ServeConfig
from tests.support.families import without
from tests.support.live_server import LiveServer, running
from tests.support.parrot_engine import ParrotOptions
from tests.support.templates import CHATML
from tests.support.tiny_models import save_model, save_tokenizer

FIRST = "3 + 4 = 7. " * 6 + "So.\n\n"
SAYS = FIRST + "Wait, I think 7. " * 5 + "\n\nThe answer is \\boxed{7}."


@pytest.fixture(scope="module")
def instruct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = save_tokenizer(save_model(tmp_path_factory.mktemp("instruct"), "llama", vocab_size=432))
    without(directory, "<think>", "</think>")
    (directory / "chat_template.jinja").write_text(CHATML, "utf-8")
    return directory


@pytest.fixture(scope="module")
def plain(instruct: Path) -> Iterator[LiveServer]:
    with running(ServeConfig(model=instruct, name="instruct", engine=ParrotOptions(says=SAYS))) as live:
        yield live


@pytest.fixture(scope="module")
def openly(instruct: Path) -> Iterator[LiveServer]:
    config = ServeConfig(
        model=instruct,
        name="instruct",
        engine=ParrotOptions(says=SAYS),
        thinking=Path("open"),
        policy=FixedThreshold(threshold=0.4),
    )
    with running(config) as live:
        yield live


def told(server: LiveServer, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    done = server.post(max_tokens=300, **body)
    assert done.status_code == 200, done.text
    return done.json()["choices"][0]["message"], done.json()["laser"]


@pytest.mark.parametrize("body", [{}, {"reasoning_effort": "none"}, {"enable_thinking": False}, {"thinking_budget": 0}])
def test_a_model_without_markers_is_served_plain(plain: LiveServer, body: dict[str, Any]) -> None:
    message, laser = told(plain, **body)
    assert (message["content"], message["reasoning_content"]) == (SAYS, None)
    assert laser["exit_reason"] == "plain"
    assert (laser["probes"], laser["reasoning_tokens"], laser["budget"], laser["forced_tokens"]) == (0, 0, None, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, "thinking"),
        ({"thinking_budget": 9}, "thinking_budget"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
        ({"include_reasoning": True, "enable_thinking": True}, "enable_thinking"),
    ],
)
def test_a_thought_asked_of_a_plain_model_is_refused_by_name(
    plain: LiveServer, body: dict[str, Any], field: str
) -> None:
    error = plain.post(**body)
    assert error.status_code == 400
    assert error.json()["error"]["param"] == field
    said = error.json()["error"]["message"]
    assert said.startswith(f"{field} asks for a thought, but this model is served plain, without thoughts: ")
    assert '"laser": {"thinking": "open"}' in said


def test_a_request_may_ask_for_a_thought_in_the_open(plain: LiveServer) -> None:
    message, laser = told(plain, laser={"thinking": "open"}, thinking_budget=4)
    assert message["content"].startswith("3 + 4\n\nThe answer is \\boxed{")
    assert (laser["exit_reason"], laser["reasoning_tokens"], laser["budget"]) == ("budget", 4, 4)
    assert message["reasoning_content"] == ""


def test_a_thought_that_is_both_asked_for_and_turned_off_is_refused(plain: LiveServer) -> None:
    error = plain.post(laser={"thinking": "open"}, enable_thinking=False).json()["error"]
    assert error["param"] == "laser.thinking"
    assert "another field turns the thought off" in error["message"]


def test_a_server_may_have_all_thoughts_in_the_open(openly: LiveServer) -> None:
    message, laser = told(openly, laser={"answer": "short"})
    assert message["reasoning_content"] == ""
    assert laser["exit_reason"] == "confidence"
    assert laser["reasoning_tokens"] > 0
    assert message["content"].startswith(f"{FIRST}\n\nThe answer is \\boxed{{3 + 4")
    assert told(openly, enable_thinking=False)[0]["content"] == SAYS
    assert told(openly, reasoning_effort="medium")[1]["exit_reason"] == "confidence"


def test_what_is_no_short_answer_is_not_reasoned_in_the_open(openly: LiveServer) -> None:
    message, laser = told(openly, laser={"answer": "code"})
    assert (message["content"], laser["exit_reason"], laser["probes"]) == (SAYS, None, 0)


def test_an_answer_in_the_open_is_the_models_own_where_no_box_is_asked_for(openly: LiveServer) -> None:
    message, laser = told(openly)
    assert (laser["exit_reason"], laser["answer"]) == ("confidence", "short")
    assert message["content"].startswith(f"{FIRST}\n\nThe answer is")
    assert not message["content"].startswith(f"{FIRST}\n\nThe answer is \\boxed")


def test_open_thoughts_are_refused_where_the_model_has_markers(server: LiveServer) -> None:
    error = server.post(laser={"thinking": "open"}).json()["error"]
    assert (error["param"], error["message"].split(":")[0]) == (
        "laser.thinking",
        "laser.thinking is 'open', but the model's thoughts stand between <think> and </think>, not in the content",
    )
