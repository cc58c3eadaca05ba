"""What a simulated engine's model says: given, not computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.base import ProbeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a sequence goes on if nobody steps in, up to a stop token or to as many tokens as it may have."""

    tokens: tuple[int, ...]
    looks: tuple[int, ...] = ()  # after so many of them, rising, whoever drives the engine is to look at the sequence
    until_armed: bool = False  # another follows once stops can be sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAnswer:
    """A whole trial answer, as it would be decoded if nothing ended it early."""

    answer: tuple[int, ...]
    log_probs: tuple[float, ...]  # of the answer's tokens
    terminator: int | None
    gap: float | None = None  # see `engine.base.Probed`; None: no token was watched


class SimulatedModel(Protocol):
    """A model that knows what it will say."""

    @property
    def max_tokens(self) -> int:
        """The longest sequence it was made for, tokens."""

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""

    def follow(
        self, prompt: tuple[int, ...], said: Sequence[int], *, stops: frozenset[int], armed: bool, most: int
    ) -> Course:
        """What comes after a prompt and these new tokens: up to the first of `stops`, without any unless armed."""

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        """What a probe answers after them."""
