"""What each lever is worth: how many more tokens the same accuracy costs without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from experiments.analysis.fronts import front
from experiments.analysis.situation import Situation
from models.profile.lever import Lever
from models.profile.tables import OperatingPoint, OperatingTables

LOSSES = (0.0, 0.005, 0.01, 0.02)  # of the full thought's accuracy, at which fronts are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutLever:
    """The front that is left without one lever."""

    lever: str
    tokens: tuple[float | None, ...]  # fewest of a mean request, by accuracy; None: out of reach


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverWorth:
    """The front with all levers of a profile, and those without one of them."""

    accuracy: tuple[float, ...]  # falling
    tokens: tuple[float | None, ...]  # fewest of a mean request with all levers; None: out of reach
    without: tuple[WithoutLever, ...]


def lever_worth(one: Situation) -> LeverWorth:
    """Compares fronts over the points in use. Giving up is a lever where the profile has it tabulated.

    Without giving up, the points are those that are certified without it: its certificate shares δ with more columns.
    """
    measured, plain = one.measured, one.tables
    every = plain
    if measured.give_up is not None:
        every = replace(measured, levers=frozenset({Lever.GIVE_UP})).tables(certified_only=one.certified_only)
    full = float(one.mix @ plain.accuracy[:, 0])
    accuracy = tuple(full - loss for loss in LOSSES)

    def fewest(tables: OperatingTables) -> tuple[float | None, ...]:
        found = front(one, tables)
        return tuple(found.tokens_at(wanted) for wanted in accuracy)

    def without(lever: str, kept: Callable[[OperatingPoint], bool]) -> WithoutLever:
        return WithoutLever(lever=lever, tokens=fewest(every.at([k for k, p in enumerate(every.points) if kept(p)])))

    levers = [
        without("thresholds", lambda point: point.threshold is None),
        without("budgets", lambda point: point.budget is None),
    ]
    if measured.give_up is not None:
        levers.append(WithoutLever(lever="giving up", tokens=fewest(plain)))
    if measured.index is not None:
        by_price = replace(measured, levers=frozenset({Lever.PRICE_INDEX})).tables(certified_only=one.certified_only)
        levers.append(WithoutLever(lever="thresholds, with a price index", tokens=fewest(by_price)))
    return LeverWorth(accuracy=accuracy, tokens=fewest(every), without=tuple(levers))
