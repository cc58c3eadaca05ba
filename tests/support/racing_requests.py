"""Requests whose thoughts race, with what may be expected of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from controller.policy import Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.choices.ballot import Ballot, voted
from controller.serving.request import ReasoningRequest, RequestId
from engine.base import Sampling
from models.profile.width import RaceRule
from tests.support.serving_bench import ANSWER, Bench, Heard

Chain = Callable[..., Bench]
WAYS = {
    "\n": {"a": 0.5, "b": 0.4},
    "a": {"b": 0.6, "</think>": 0.3},
    "b": {"a": 0.6, "</think>": 0.3},
    **ANSWER,
    "</think>": {"X": 0.5, "Y": 0.4},
}
DRAWN = Sampling(temperature=1.0, seed=7)
IDLE = AdmissionLimits(slots=8)
FIRST = RaceRule(width=4, asked=1.0, temperature=1.0)
VOTE = replace(FIRST, width=5, vote=True)


class Moving:
    """A policy whose races a test may stop."""

    def __init__(self, rule: RaceRule | None) -> None:
        self.rule = rule

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(race=self.rule)


class Load:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.rows: list[int] = []
        self.in_system: list[int] = []

    def arrived(self, difficulty: str | None) -> None:
        self.arrivals += 1

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.rows.append(tokens)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        pass

    def tick(self, now: float, in_system: int) -> None:
        self.in_system.append(in_system)


def ask(bench: Bench, prompt: str = "?", **options: Any) -> tuple[RequestId, Heard]:
    """Submit a request of which no trial answers are wanted."""
    heard = Heard()
    tokens = bench.thinking.prompt(tuple(bench.tokenizer.encode(prompt)), thinking=True)
    request = ReasoningRequest(**{"prompt": tokens, "max_tokens": 60, "sampling": DRAWN, **options})
    return bench.loop.submit(request, heard), heard


def alone(bench: Bench, samplings: Sequence[Sampling]) -> list[Heard]:
    """Returns the replies that requests get which do not race."""
    return [bench.ask(sampling=each) for each in samplings]


def expected(bench: Bench, rule: RaceRule, first: Sampling = DRAWN) -> tuple[Heard, int]:
    """Returns the reply that a race is to serve, and the rows of all its thoughts until it is decided.

    Rivals begin a step after the first thought, whose prompt they share.
    """
    others = [Sampling(temperature=rule.temperature, seed=first.seed + place) for place in range(1, rule.width)]
    each = alone(bench, [first, *others])
    lengths = [one.outcome.completion_tokens + (place > 0) for place, one in enumerate(each)]
    ballot = Ballot(rule.width, vote=rule.vote)
    for place in sorted(range(rule.width), key=lambda place: lengths[place]):
        won = ballot.answer(place, voted(each[place].content))
        if won is not None:
            return each[won], sum(min(length, lengths[place]) for length in lengths)
    raise AssertionError("nobody won")
