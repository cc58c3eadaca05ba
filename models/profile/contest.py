"""The contest of policies that a profile keeps: the load-aware policy against constants, simulated on its records.

The safe constant is one certified threshold and budget for every thought at any load. The load-aware policy serves
unless it is shown to be worse than that at some load, by the controller's own objective: correct answers, less what
waiting costs. Where nothing is shown, it may still be a little worse: the interval of the gain tells by how much.
"""

from __future__ import annotations

from dataclasses import dataclass

LOAD_AWARE = "load-aware"
CONSTANT = "safe constant"
FULL = "full thought"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedPolicy:
    """How a policy served a load, in simulation."""

    name: str  # LOAD_AWARE, CONSTANT or FULL, or another constant's name
    threshold: float | None  # of a constant; None: it never probes, or the policy is no constant
    budget: int | None  # of a constant; None: it has none, or the policy is no constant
    certified: bool  # whether the profile certifies it
    latency_s: float  # mean, from arrival to the end of the reply
    p95_s: float  # 95th percentile of the latency
    accuracy: float  # share of right answers
    tokens: float  # mean token rows of a request, probes included


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadContest:
    """What the policies did with the same requests at the same times."""

    load: float  # share of what the engine can serve with full thoughts
    rate: float  # requests/s
    played: tuple[PlayedPolicy, ...]  # how each policy served it
    gain: float  # of load-aware over the safe constant: correct answers per request, less what waiting costs
    low: float  # lower end of the gain's interval, over stretches of the run; at 95 % those of all loads hold together
    high: float  # upper end of it

    def __post_init__(self) -> None:
        if not self.low <= self.gain <= self.high:  # NaN, too: nothing would be shown, whatever load-aware does
            raise ValueError(f"gain is {self.gain}, must lie within its interval, {self.low} to {self.high}")

    def of(self, name: str) -> PlayedPolicy | None:
        """Returns how the policy of this name served; None: it did not take part."""
        return next((one for one in self.played if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContest:
    """The contest at several loads."""

    seed: int  # of arrivals and questions
    requests: int  # at each load
    latency_weight: float  # correct answers that one second of one user's waiting costs
    threshold: float | None  # the safe constant's; None: it never probes
    budget: int | None  # the safe constant's; None: it has none
    loads: tuple[LoadContest, ...]  # the contest at each load

    @property
    def worse(self) -> tuple[LoadContest, ...]:
        """The loads at which load-aware is shown to be worse than the safe constant: its whole interval is below 0."""
        return tuple(one for one in self.loads if one.high < 0.0)

    @property
    def constant(self) -> str:
        """The safe constant in words."""
        return constant_words(self.threshold, self.budget)

    @property
    def reason(self) -> str:
        """Why the policy serves that does by this contest, in words; the safe constant's name comes first."""
        if not self.worse:
            loads = ", ".join(f"{one.load:.0%}" for one in self.loads)
            if all(one.low == one.high == 0.0 for one in self.loads):
                return f"simulated at {loads} of capacity, it does the same as the {CONSTANT}, {self.constant}"
            return f"simulated at {loads} of capacity, it is not shown to be worse than the {CONSTANT}, {self.constant}"
        where = ", ".join(f"{one.load:.0%}" for one in self.worse)
        return f"the {CONSTANT}, {self.constant}: simulated at {where} of capacity, {LOAD_AWARE} is shown to be worse"

    @property
    def verdict(self) -> str:
        """Which of the two serves, and why, in words."""
        return self.reason if self.worse else f"{LOAD_AWARE}: {self.reason}"


def constant_words(threshold: float | None, budget: int | None) -> str:
    """Returns one threshold and budget in words."""
    said = [] if threshold is None else [f"threshold {threshold:.2f}"]
    said += [] if budget is None else [f"budget {budget}"]
    return " with ".join(said) or "full thoughts"
