"""Prompts that are answered at once: closed in the prompt where the policy alone decides, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.policy import UNLIMITED, FixedPolicy, Limits
from controller.serving.request import Close, ExitReason, Outcome, ReasoningRequest
from controller.serving.signals.base import STOPS
from models.kinds.kind import AnswerKind
from models.tools.offer import CallMarks
from tests.support.serving_bench import BRIEF, Bench
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]

SKIP = FixedPolicy(Limits(threshold=0.95, skip=0.9))


def test_a_prompt_that_needs_no_thought_is_answered_at_once(chain: Chain) -> None:
    bench = chain(BRIEF, policy=SKIP)
    heard = bench.ask(ease=0.9)
    outcome = heard.outcome
    assert (outcome.thought.exit_reason, outcome.thought.tokens, outcome.close) == (ExitReason.SKIPPED, 0, Close.FORCED)
    assert heard.content == "XY"
    assert outcome.put_before == len(bench.thinking.landing)
    assert outcome.thought.probes == 0
    assert outcome.rows == outcome.completion_tokens
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_all_choices_of_a_request_are_answered_at_once(chain: Chain) -> None:
    bench = chain(BRIEF, policy=SKIP)
    outcomes: list[Outcome] = []
    prompt = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True)
    request = ReasoningRequest(prompt=prompt, max_tokens=60, ease=0.95, choices=3)
    bench.loop.submit(request, lambda news: outcomes.append(news) if isinstance(news, Outcome) else None)
    bench.run()
    assert [one.thought.exit_reason for one in outcomes] == [ExitReason.SKIPPED] * 3


@pytest.mark.parametrize(
    "asked",
    [
        {"ease": 0.89},
        {"ease": None},
        {"ease": 1.0, "budget": 50},
        {"ease": 1.0, "early_exit": False},
        {"ease": 1.0, "fixed": UNLIMITED},
        {"ease": 1.0, "answer": AnswerKind.OPEN},
        {"ease": 1.0, "calls": CallMarks(starts=("<tool_call>",))},
    ],
)
def test_who_did_not_leave_it_to_the_policy_gets_a_thought(chain: Chain, asked: dict[str, object]) -> None:
    heard = chain(BRIEF, policy=SKIP).ask(**asked)
    assert heard.outcome.thought.exit_reason != ExitReason.SKIPPED
    assert heard.outcome.thought.tokens > 0


def test_kinds_of_answers_that_are_not_certified_get_a_thought(chain: Chain) -> None:
    bench = chain(BRIEF, policy=SKIP, certified=frozenset[AnswerKind]())
    assert bench.ask(ease=1.0).outcome.thought.exit_reason == ExitReason.NATURAL


def test_without_a_cut_off_no_prompt_is_answered_at_once(chain: Chain) -> None:
    heard = chain(BRIEF, policy=FixedPolicy(Limits(threshold=0.95))).ask(ease=1.0)
    assert heard.outcome.thought.exit_reason == ExitReason.NATURAL


def test_a_thought_that_has_begun_is_not_skipped(chain: Chain) -> None:
    """A cut-off that comes in force later is for prompts that come later."""

    class Later:
        now = Limits()

        def limits(self, difficulty: str | None) -> Limits:
            return self.now

    policy = Later()
    bench = chain(BRIEF, policy=policy)
    _, heard = bench.submit(ease=1.0)
    bench.tick(2)
    policy.now = Limits(skip=0.5)
    bench.run()
    assert heard.outcome.thought.exit_reason == ExitReason.NATURAL


def test_no_signal_may_have_its_reason() -> None:
    assert ExitReason.SKIPPED in STOPS
