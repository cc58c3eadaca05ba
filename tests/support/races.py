"""Races of thoughts on a bench: ways in which they go apart, rules, a policy that changes, and an observer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controller.policy import Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.request import ReasoningRequest, RequestId
from engine.base import Sampling
from models.profile.width import RaceRule
from tests.support.serving_bench import ANSWER, Bench, Heard

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
