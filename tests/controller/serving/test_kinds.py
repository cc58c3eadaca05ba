"""Only short answers are tried, and only a box that was wanted becomes the reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import ExitReason
from models.formats.form import ChoiceFormat
from models.kinds.kind import AnswerForm, AnswerKind
from tests.support.serving_bench import ENDLESS, FORMAT, SURE, Bench

Chain = Callable[..., Bench]

OTHERS = [kind for kind in AnswerKind if kind is not AnswerKind.SHORT]


@pytest.mark.parametrize("answer", OTHERS)
def test_other_answers_are_not_tried(chain: Chain, answer: AnswerKind) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.1, budget=6))).ask(answer=answer)
    thought = heard.outcome.thought
    assert (thought.probes, thought.exit_reason, thought.threshold) == (0, ExitReason.BUDGET, None)
    assert heard.content == "XY"


def test_a_short_answer_is_tried(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=SURE).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.CONFIDENCE, "{7}")


@pytest.mark.parametrize("form", [AnswerForm.WORDS, AnswerForm.CHOICE])
def test_a_trial_answer_that_nobody_wants_boxed_only_closes_the_thought(chain: Chain, form: AnswerForm) -> None:
    """A choice is asked for as the box is here, since the limits are certified, and were by the box."""
    certified = frozenset({AnswerKind.SHORT})
    heard = chain(ENDLESS, policy=SURE, certified=certified).ask(form=form)
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.CONFIDENCE, "XY")
    assert heard.outcome.put_in == 2  # what leads the closing marker, and the marker


def test_a_choice_is_asked_for_by_its_label(chain: Chain) -> None:
    form = replace(FORMAT, choice=ChoiceFormat(suffix="~</think>[", stops=("]",), max_answer_tokens=2))
    model = {**ENDLESS, "[": {"B": 0.99}, "B": {"]": 0.99}}
    heard = chain(model, policy=SURE, form=form).ask(form=AnswerForm.CHOICE)
    assert heard.checkpoints[-1].answer == "B"
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.CONFIDENCE, "XY")


def test_a_label_that_is_too_long_is_none(chain: Chain) -> None:
    form = replace(FORMAT, choice=ChoiceFormat(suffix="~</think>[", stops=("]",), max_answer_tokens=2))
    model = {**ENDLESS, "[": {"B": 0.99}, "B": {"B": 0.99}}
    heard = chain(model, policy=FixedPolicy(Limits(threshold=0.5, budget=20)), form=form).ask(form=AnswerForm.CHOICE)
    assert heard.outcome.thought.probes > 0
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET


@pytest.mark.parametrize("answer", OTHERS)
def test_what_is_not_certified_gets_the_full_thought(chain: Chain, answer: AnswerKind) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.1, budget=6)), certified=frozenset({AnswerKind.SHORT}))
    thought = bench.ask(answer=answer).outcome.thought
    assert thought.probes == 0
    assert thought.tokens > 6  # what max_tokens leaves
    assert bench.ask().outcome.thought.tokens <= 6
    assert bench.ask(answer=answer, budget=3).outcome.thought.tokens == 3  # a client's own budget holds


@pytest.mark.parametrize("answer", OTHERS)
def test_signals_without_a_trial_answer_hold_for_all(chain: Chain, answer: AnswerKind) -> None:
    wavering = {**ENDLESS, ".\n\n": {"a": 0.6, "</think>": 0.3}}
    heard = chain(wavering, policy=FixedPolicy(Limits(margin=1.0))).ask(answer=answer)
    assert heard.outcome.thought.exit_reason is ExitReason.MARGIN
