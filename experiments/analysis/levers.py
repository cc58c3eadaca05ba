"""What each lever is worth: how many more tokens the same accuracy costs without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from experiments.analysis.fronts import front
from experiments.analysis.situation import Situation
from models.profile.lever import Lever
from models.profile.tables import OperatingPoint, OperatingTables

NAMES = {Lever.GIVE_UP: "giving up", Lever.NO_THOUGHT: "answers at once", Lever.WIDTH: "width"}
LOSSES = (0.0, 0.005, 0.01, 0.02)  # of the full thought's accuracy, at which fronts are compared
GAINS = (0.02, 0.01)  # over it, where thoughts may race


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
    """Compares fronts over the points in use. Giving up and width are levers where the profile has them tabulated.

    So is answering at once. Without either, the points are those that are certified without it: its certificate shares
    δ with more columns.
    """
    measured, plain = one.measured, one.tables
    known = {Lever.GIVE_UP: measured.give_up, Lever.NO_THOUGHT: measured.no_thought, Lever.WIDTH: measured.width}
    levers = frozenset(lever for lever, tabulated in known.items() if tabulated is not None)

    def in_use(wanted: frozenset[Lever]) -> OperatingTables:
        return plain if not wanted else replace(measured, levers=wanted).tables(certified_only=one.certified_only)

    every = in_use(levers)
    full = float(one.mix @ plain.accuracy[:, 0])
    gains = GAINS if Lever.WIDTH in levers else ()
    accuracy = (*(min(1.0, full + gain) for gain in gains), *(full - loss for loss in LOSSES))

    def fewest(tables: OperatingTables) -> tuple[float | None, ...]:
        mine = front(one, tables)
        return tuple(mine.tokens_at(wanted) for wanted in accuracy)

    def without(lever: str, kept: Callable[[OperatingPoint], bool]) -> WithoutLever:
        return WithoutLever(lever=lever, tokens=fewest(every.at([k for k, p in enumerate(every.points) if kept(p)])))

    found = [
        without("thresholds", lambda point: point.threshold is None),
        without("budgets", lambda point: point.budget is None),
    ]
    for lever in sorted(levers):
        found.append(WithoutLever(lever=NAMES[lever], tokens=fewest(in_use(levers - {lever}))))
    if measured.index is not None:
        by_price = replace(measured, levers=frozenset({Lever.PRICE_INDEX})).tables(certified_only=one.certified_only)
        found.append(WithoutLever(lever="thresholds, with a price index", tokens=fewest(by_price)))
    return LeverWorth(accuracy=accuracy, tokens=fewest(every), without=tuple(found))
