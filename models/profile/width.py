"""Width: several thoughts of one prompt at once, of which one reply is served; what it gains, and what is certified.

A race of w thoughts begins from one prefill. The first thought is the one that the request would have had alone; the
others are sampled at `temperature`. Either the reply that ends first is served, or the answers vote. The losers are
cancelled as soon as the race is decided.

What is certified is the *net* loss E[right(alone) − right(race)], a mean of differences in [−1, 1] of one question: a
race is wrong where one thought was right, but more often it is the other way round, and the one-sided harm, which is
shown beside, would refuse what helps. Its upper bound is the empirical Bernstein bound (Maurer and Pontil, 2009,
theorem 4, 0907.3740) at a share of δ for each point: of x₁ … xₙ in an interval of length r, with the sample variance V,

    E[x] ≤ mean + √(2 V ln(2/δ) / n) + 7 r ln(2/δ) / (3 (n − 1)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FEWEST_RACED = 100  # questions of every class, whose means a policy plans with
RANGE = 2.0  # of a difference in [−1, 1]

Array: TypeAlias = npt.NDArray[np.float64]
PointTable: TypeAlias = tuple[tuple[float, ...], ...]  # [class, point]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RaceRule:
    """How the thoughts of one prompt race."""

    width: int  # thoughts
    vote: bool = False  # the answer that most of them give is served; else the reply that ends first
    asked: float = 0.0  # temperature of the requests that it holds for; 0: greedy ones
    temperature: float = 0.7  # at which the thoughts behind the first are sampled

    def __post_init__(self) -> None:
        if self.width < 2:
            raise ValueError(f"width is {self.width}, must be at least 2: one thought has nobody to race with")
        if not (math.isfinite(self.asked) and self.asked >= 0.0):
            raise ValueError(f"asked is {self.asked}, must be finite and at least 0")
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ValueError(f"temperature is {self.temperature}, must be above 0: greedy thoughts are all the same")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetLoss:
    """What the races of one rule lose on some questions."""

    mean: float  # right(alone) − right(race); negative: races win
    bound: float  # its upper bound, of all rules at once
    harm: float  # share of right answers of the first thought that its race spoils


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthTables:
    """The points at which thoughts race, each with full thought.

    They are of questions whose replies were sampled, the profile's own or others.
    """

    rules: tuple[RaceRule, ...]  # by points
    count: int  # questions
    counts: tuple[int, ...]  # by class
    epsilon: float  # certified net loss
    delta: float  # chance that the certificate is wrong
    tokens: PointTable  # mean token rows of a request, those of the losers counted
    accuracy: PointTable  # share of right answers
    alone: tuple[float, ...]  # by class: the same of one full thought
    p95_steps: PointTable  # 95th percentile of a request's decode steps
    net: tuple[NetLoss, ...]  # by points, over all classes
    certified: tuple[bool, ...]  # by points: whether its entry of `bounds` is at most ε
    refused: str | None = None  # why no point is certified, whatever the bounds; None: the bounds decide

    def __post_init__(self) -> None:
        wanted = (len(self.counts), len(self.rules))
        for name in ("tokens", "accuracy", "p95_steps"):
            if (found := np.shape(getattr(self, name))) != wanted:
                raise ValueError(f"{name} has shape {found}, must be {wanted}: classes and points")
        if len(self.alone) != len(self.counts):
            raise ValueError(f"alone has {len(self.alone)} entries, must have {len(self.counts)}: one a class")
        for name in ("net", "certified"):
            if len(getattr(self, name)) != len(self.rules):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, must have {len(self.rules)}: points")

    def at_risk(self, epsilon: float) -> WidthTables:
        """Returns the tables certified at another net loss."""
        refused, certified = _tested(self.rules, self.net, self.count, self.counts, epsilon, self.delta)
        return replace(self, epsilon=epsilon, certified=certified, refused=refused)

    @property
    def bounds(self) -> tuple[float, ...]:
        """By points: the upper bound of the net loss, whichever of its narrower races it shrinks to."""
        return _bounds(self.rules, self.net)

    def usable(self, *, free: bool = False) -> list[int]:
        """Returns the certified points; `free`: those alone that cost an account of risk nothing."""
        bounds = self.bounds
        return [k for k, safe in enumerate(self.certified) if safe and not (free and bounds[k] > 0.0)]


def net_bound(losses: npt.ArrayLike, delta: float) -> float:
    """Returns the empirical Bernstein upper bound of the mean of differences in [−1, 1], at most 1.

    Raises ValueError if there are fewer than 2, or one lies outside.
    """
    found = np.asarray(losses, dtype=np.float64)
    if len(found) < 2:
        raise ValueError(f"there are {len(found)} differences, must be at least 2")
    if np.abs(found).max() > 1.0 + 1e-9:
        raise ValueError(f"a difference is {found[np.abs(found).argmax()]}, must lie between -1 and 1")
    logged, n = math.log(2.0 / delta), len(found)
    spread = math.sqrt(2.0 * float(found.var(ddof=1)) * logged / n)
    return min(1.0, float(found.mean()) + spread + 7.0 * RANGE * logged / (3.0 * (n - 1)))


def least_bound(count: int, points: int, delta: float) -> float:
    """Returns the bound of `count` questions, all of them as right in a race as alone: the least without any gain."""
    return net_bound(np.zeros(count), delta / points) if count > 1 else 1.0


def width_tables(
    *,
    rules: Sequence[RaceRule],
    member: npt.NDArray[np.bool_],
    rows: Array,
    right: Array,
    alone: Array,
    steps: PointTable,
    harm: Array,
    epsilon: float,
    delta: float,
) -> WidthTables:
    """Returns the tables of races on questions; `steps` is their p95_steps.

    `member` is [class, question]; `rows`, `right` and `harm` are [question, rule], means over a question's races;
    `alone` is [question], the mean of its first thoughts. The rules share `delta` (Bonferroni).
    """
    count, counts = len(alone), member.sum(axis=1)
    share = delta / len(rules)
    net = tuple(
        NetLoss(
            mean=float((alone - right[:, k]).mean()),
            bound=net_bound(alone - right[:, k], share),
            harm=float(harm[:, k].mean()),
        )
        for k in range(len(rules))
    )
    refused, certified = _tested(rules, net, count, counts.tolist(), epsilon, delta)
    return WidthTables(
        rules=tuple(rules),
        count=count,
        counts=tuple(int(one) for one in counts),
        epsilon=epsilon,
        delta=delta,
        tokens=_means(rows, member),
        accuracy=_means(right, member),
        alone=tuple(one for (one,) in _means(alone[:, None], member)),
        p95_steps=steps,
        net=net,
        certified=certified,
        refused=refused,
    )


def _tested(
    rules: Sequence[RaceRule], net: Sequence[NetLoss], count: int, counts: Sequence[int], epsilon: float, delta: float
) -> tuple[str | None, tuple[bool, ...]]:
    """Returns why no rule is certified, whatever the bounds, and which rules are."""
    refused = None
    if min(counts) < FEWEST_RACED:
        refused = f"a class has {min(counts)} raced questions, must have at least {FEWEST_RACED} to plan with"
    elif (least := least_bound(count, len(rules), delta)) > epsilon:
        refused = f"{count} questions bound no net loss below {least:.3f}, must be enough for {epsilon:g}"
    return refused, tuple(refused is None and bound <= epsilon for bound in _bounds(rules, net))


def _bounds(rules: Sequence[RaceRule], net: Sequence[NetLoss]) -> tuple[float, ...]:
    """Returns the bound of each rule with those of its narrower races: a race that loses rivals goes on as one."""
    known = dict(zip(rules, net, strict=True))
    return tuple(
        max(
            known[other].bound
            for other in rules
            if replace(other, width=rule.width) == rule and other.width <= rule.width
        )
        for rule in rules
    )


def _means(values: Array, member: npt.NDArray[np.bool_]) -> PointTable:
    """Returns the classes' means; a class without questions gets that of all."""
    return tuple(tuple((values[mine] if mine.any() else values).mean(axis=0).tolist()) for mine in member)
