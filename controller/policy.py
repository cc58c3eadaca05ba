"""Policies: how sure a thought must be to be closed early, and how long it may go on.

The loop asks for the limits at every checkpoint of every running thought, so a policy that changes its mind acts on
requests that are already running.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a thought now. Without threshold, agree and margin it is not probed, without budget it has none.

    A thought with both a threshold and agree is closed by whichever is reached first. With a margin its probes give no
    trial answer, only how far it is from closing itself.
    """

    threshold: float | None = None  # confidence at which a thought is closed; above 1: probe, but never close
    budget: int | None = None  # thinking tokens
    agree: int | None = None  # probes in a row with the same answer at which a thought is closed
    margin: float | None = None  # log p(likeliest token) − log p(the closing marker) up to which a thought is closed
    every: int | None = None  # tokens from one probe to the next, wherever that is; None: at transition points

    def __post_init__(self) -> None:
        if self.threshold is not None and not self.threshold > 0.0:
            raise ValueError(f"threshold is {self.threshold}, must be above 0")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget is {self.budget}, must be at least 0")
        if self.agree is not None and self.agree < 2:
            raise ValueError(f"agree is {self.agree}, must be at least 2")
        if self.margin is not None:
            if not (math.isfinite(self.margin) and self.margin >= 0.0):
                raise ValueError(f"margin is {self.margin}, must be finite and at least 0")
            for name in ("threshold", "agree"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is {getattr(self, name)} and margin is {self.margin}, must be one of them"
                    )
        if self.every is not None and self.every < 1:
            raise ValueError(f"every is {self.every}, must be at least 1")

    @property
    def probing(self) -> bool:
        """Whether running thoughts are probed."""
        return self.threshold is not None or self.agree is not None or self.margin is not None


class Policy(Protocol):
    """Chooses the limits of a thought."""

    def limits(self, difficulty: str | None) -> Limits:
        """The limits now in force for a thought of this difficulty class (None: unknown)."""


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same limits for every thought, whatever the load: full thought, a threshold, a budget, agreeing probes."""

    fixed: Limits = Limits()

    def limits(self, difficulty: str | None) -> Limits:
        return self.fixed


class LoadObserver(Protocol):
    """Hears of arrivals, ends and steps, on the engine's thread: each call must return in microseconds."""

    def arrived(self, difficulty: str | None) -> None:
        """A request of this class has been queued (None: unknown)."""

    def finished(self, difficulty: str | None, tokens: int) -> None:
        """A request that was left to the policy has ended; `tokens` rows were decoded for it, probes included."""

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        """A step that only decoded: `batch` sequences of `context` cached tokens on average, one token each."""

    def tick(self, now: float, in_system: int) -> None:
        """Time passes, s on the loop's clock, with so many requests queued or running; also while nothing runs."""


class QueueLengthObserver:
    """A Watcher to whom only the number in the system counts: what it hears between two ticks is nothing to it."""

    def arrived(self, difficulty: str | None) -> None:
        pass

    def finished(self, difficulty: str | None, tokens: int) -> None:
        pass

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        pass
