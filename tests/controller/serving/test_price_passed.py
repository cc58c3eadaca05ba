"""Thoughts that a price closes, served: by the bar of their age, at once when the price rises, and no other ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import Close, ExitReason
from models.kinds.kind import AnswerKind
from models.profile.levers.index import IndexLimit
from models.thinking import Keep
from tests.support.serving_bench import BRIEF, ENDLESS, FORMAT, Bench
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]

# the scripted answer's confidence is 0.9


def priced(*bars: float | None, **limits: object) -> Limits:
    """The bars of thoughts of less than 20 tokens, and of longer ones."""
    index = IndexLimit(price=1e-3, median=40.0, ages=(0.5,), bars=bars)
    return Limits(index=index, **limits)  # type: ignore[arg-type]


def test_a_thought_is_closed_by_the_bar_of_its_age(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(priced(0.97, 0.85)))
    heard = bench.ask(max_tokens=100)
    thought = heard.outcome.thought
    assert (thought.exit_reason, heard.content) == (ExitReason.PRICE, "{7}")
    assert heard.outcome.close is Close.FORCED
    assert 20 <= thought.tokens < 30
    assert thought.confidence == pytest.approx(0.9, abs=0.01)
    assert len(heard.checkpoints) > 3  # it was as sure all the time
    assert [seen.gave_up for seen in heard.checkpoints] == [True] * (len(heard.checkpoints) - 1) + [False]
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_a_young_thought_is_closed_at_once_where_its_bar_is_low(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(priced(0.85, 0.97))).ask(max_tokens=100)
    assert heard.outcome.thought.exit_reason == ExitReason.PRICE
    assert heard.outcome.thought.tokens < 10


def test_where_no_confidence_closes_the_thought_goes_on(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(priced(None, None, budget=30))).ask(max_tokens=100)
    assert heard.outcome.thought.exit_reason == ExitReason.BUDGET
    assert all(seen.gave_up for seen in heard.checkpoints)


def test_a_thought_that_ends_before_is_its_own(chain: Chain) -> None:
    heard = chain(BRIEF, policy=FixedPolicy(priced(0.97, 0.85))).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.NATURAL, "XY")


@dataclass(slots=True)
class Rising:
    """A price that rises after some looks."""

    looks: int = 0

    def limits(self, difficulty: str | None) -> Limits:
        self.looks += 1
        return priced(0.97, 0.97) if self.looks < 12 else priced(0.85, 0.85)


def test_running_thoughts_obey_a_new_price(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=Rising()).ask(max_tokens=100)
    assert heard.outcome.thought.exit_reason == ExitReason.PRICE
    assert len(heard.checkpoints) > 1


@pytest.mark.parametrize("unprobed", [{"early_exit": False}, {"answer": AnswerKind.CODE}])
def test_who_is_not_probed_is_not_closed_by_a_price(chain: Chain, unprobed: dict[str, object]) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(priced(0.5, 0.5, budget=12))).ask(**unprobed)
    assert heard.outcome.thought.exit_reason == ExitReason.BUDGET
    assert heard.outcome.thought.probes == 0


def test_where_the_model_writes_its_answer_itself_it_does_so_here_too(chain: Chain) -> None:
    form = replace(FORMAT, keep=Keep.CLOSE)
    heard = chain(ENDLESS, policy=FixedPolicy(priced(0.85, 0.85)), form=form).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.PRICE, "XY")
