"""Policies: the confidence at which a thought is closed early, and its token budget.

The serving loop asks for the limits at every checkpoint of every running thought, so a policy that changes its limits
affects requests that are already running.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

from models.profile.give_up import GiveUpLimit
from models.profile.levers.index import IndexLimit
from models.profile.width import RaceRule

G = TypeVar("G")
SPELLED = {"confidence": "threshold", "consistency": "agree", "margin": "margin"}  # signals that are fields of Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a thought. A thought without threshold, agree, margin, exits and index is not probed.

    Each of the first four is the level of an exit signal (see `controller/serving/signals/`), and the thought is closed
    by whichever signal is met first. Probes of a thought with a margin give no trial answer: they only measure how far
    the thought is from closing itself.

    In each of `threshold`, `budget`, `agree`, `margin`, `give_up`, `index` and `skip` None means: no such limit.
    """

    threshold: float | None = None  # confidence at which a thought is closed; above 1: probe, but never close
    budget: int | None = None  # thinking tokens
    agree: int | None = None  # consecutive probes with the same answer at which a thought is closed
    margin: float | None = None  # log p(likeliest token) − log p(the closing marker) up to which a thought is closed
    exits: Mapping[str, float] = field(default_factory=dict, hash=False)  # levels of other signals, by name
    every: int | None = None  # tokens from one probe to the next, at any place; None: probe at transition points
    give_up: GiveUpLimit | None = None  # lower threshold, below which a thought is closed with its best trial answer
    index: IndexLimit | None = None  # at a price: a thought whose index is at most the price is closed
    skip: float | None = None  # the switch's score from which a prompt is answered at once
    race: RaceRule | None = None  # how several thoughts race from a request's begin on; None: one thinks alone

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
        if self.give_up is not None and (self.threshold is None or self.agree is not None or self.exits):
            raise ValueError("give_up is given, must stand beside a threshold and no other signal")
        if self.index is not None and self.signals:
            raise ValueError(f"index is given beside {', '.join(self.signals)}, must be the only signal")
        if self.skip is not None and not 0.0 < self.skip < 1.0:
            raise ValueError(f"skip is {self.skip}, must lie between 0 and 1")
        if self.race is not None and (self.probing or self.skip is not None):
            raise ValueError("race is given beside an exit signal, an index or a cut-off: full thoughts race")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every is {self.every}, must be at least 1")
        for name, level in self.exits.items():
            if name in SPELLED:
                raise ValueError(f"exits has {name} at {level}, which must be given as {SPELLED[name]}")
            if not math.isfinite(level):
                raise ValueError(f"exits has {name} at {level}, must be finite")

    @property
    def width(self) -> int:
        """The number of thoughts that a request begins with, where places are idle."""
        return 1 if self.race is None else self.race.width

    @property
    def probing(self) -> bool:
        """Whether running thoughts are probed."""
        signals = self.threshold is not None or self.agree is not None or self.margin is not None or bool(self.exits)
        return signals or self.index is not None

    @property
    def signals(self) -> dict[str, float]:
        """The levels of the exit signals that have one, by the signal's name."""
        own = ((name, getattr(self, spelling)) for name, spelling in SPELLED.items())
        return {**{name: level for name, level in own if level is not None}, **self.exits}

    def skips(self, score: float | None) -> bool:
        """Whether a prompt of this score is answered at once; None: the score is unknown."""
        return self.skip is not None and score is not None and score >= self.skip

    def unprobed(self) -> Limits:
        """Returns the limits without any signal."""
        return replace(self, threshold=None, agree=None, margin=None, exits={}, give_up=None, index=None)


UNLIMITED = Limits()  # neither probed nor cut


class Policy(Protocol):
    """Chooses the limits of a thought."""

    def limits(self, difficulty: str | None) -> Limits:
        """Returns the limits now in force for a thought of this difficulty class (None: unknown)."""


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same limits for every thought at any load: full thought, a threshold, a budget, agreeing probes, a margin."""

    fixed: Limits = Limits()

    def limits(self, difficulty: str | None) -> Limits:
        return self.fixed


class Keeper(Protocol[G]):
    """Grants each request the limits that it may meet, so that what they may cost is accounted for.

    A policy that has one has it as its attribute `keeper`. `G` is what it keeps of a request.
    """

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> G:
        """Returns what a request of this class and key may meet that begins now.

        `pays`: whether the policy may shorten its thought at will, so that it is charged for it.
        """

    def within(self, grant: G, limits: Limits, age: int) -> Limits:
        """Returns the policy's limits as far as the grant of a thought of `age` tokens goes."""

    def served(self, grant: G) -> None:
        """The request was served, or an exit that its grant allowed has closed its thought before it left."""

    def void(self, grant: G) -> None:
        """The request was not served."""


def keeper_of(policy: Policy) -> Keeper[object] | None:
    """Returns a policy's keeper; None: it has none, and its limits are for every request."""
    found: Keeper[object] | None = getattr(policy, "keeper", None)
    return found


class LoadObserver(Protocol):
    """Receives arrivals, ends, steps and ticks on the engine's thread, so each call must return in microseconds."""

    def arrived(self, difficulty: str | None) -> None:
        """A request of this class has arrived (None: unknown), queued or turned away."""

    def finished(self, difficulty: str | None, tokens: int) -> None:
        """A request whose thought the policy alone limited has ended: no keeper has held it to other limits.

        `tokens`: rows decoded for it, those of probes counted, those of thoughts that lost a race not.
        """

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        """A step has only decoded, one token for each of `batch` sequences with `context` cached tokens on average."""

    def tick(self, now: float, in_system: int) -> None:
        """`now`: s on the loop's clock; `in_system`: requests queued or running. Also called while nothing runs."""


@runtime_checkable
class MemoryObserver(Protocol):
    """A LoadObserver that also plans KV cells."""

    @property
    def plans_memory(self) -> bool:
        """Whether `held` is to be called."""

    def held(self, cells: int, of: int, sequences: int, *, growing: bool) -> None:
        """Before a step `sequences` hold `cells` `of` all; `growing`: see `Capabilities` of engines."""


class QueueLengthObserver:
    """A LoadObserver that only needs the queue length at each tick; it ignores arrivals, ends and steps."""

    def arrived(self, difficulty: str | None) -> None:
        pass

    def finished(self, difficulty: str | None, tokens: int) -> None:
        pass

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        pass
