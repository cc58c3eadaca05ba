"""What each lever is worth: how many more tokens the same accuracy costs without it.

A lever is an entry of `lever_worth`. One that changes the points is left out of those of all levers; one that changes
what the points promise, as the account of risk does, is told against the front that it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from controller.planning.bisection import decide
from controller.planning.ladder import ChargedLadders
from controller.policies.restricted import with_levers, within_account
from experiments.analysis.fronts import front
from experiments.analysis.situation import Situation, any_point, tables_of
from experiments.analysis.token_simulation import Measured, simulate
from models.profile.lever import Lever
from models.profile.profile import ProfileError
from models.profile.tables import OperatingPoint, OperatingTables

NAMES = {Lever.GIVE_UP: "giving up", Lever.NO_THOUGHT: "answers at once", Lever.WIDTH: "width"}
REQUESTS = 6000  # simulated at each rate, in each order
SEED = 0
PEAK = 0.1  # risk of any one request, with an account
LOSSES = (0.0, 0.005, 0.01, 0.02)  # of the full thought's accuracy, at which fronts are compared
GAINS = (0.02, 0.01)  # over it, where thoughts may race


Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderWorth:
    """The same requests in two orders; entries are by rate."""

    rates: tuple[float, ...]  # requests/s
    shortest_s: tuple[float, ...]  # mean latency, where the class whose thoughts are shortest goes first
    first_come_s: tuple[float, ...]  # mean latency without the order


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutLever:
    """The front that is left without one lever."""

    lever: str
    tokens: tuple[float | None, ...]  # fewest of a mean request, by accuracy; None: out of reach
    against: tuple[float | None, ...] | None = None  # the same with the lever; None: with all levers


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverWorth:
    """The front with all levers of a profile, and those without one of them."""

    accuracy: tuple[float, ...]  # falling
    tokens: tuple[float | None, ...]  # fewest of a mean request with all levers; None: out of reach
    without: tuple[WithoutLever, ...]
    order: OrderWorth | None = None  # what the order of requests is worth; None: the spread of lengths is not known


def lever_worth(one: Situation) -> LeverWorth:
    """Compares fronts over the points in use. Giving up and width are levers where the profile has them tabulated.

    So is answering at once. Without either, the points are those that are certified without it: its certificate shares
    δ with more columns. The account of risk is a lever where its peak of PEAK is above the profile's risk: with it the
    risk is kept on average.
    """
    measured, plain = one.measured, one.tables
    known = {Lever.GIVE_UP: measured.give_up, Lever.NO_THOUGHT: measured.no_thought, Lever.WIDTH: measured.width}
    levers = frozenset(lever for lever, tabulated in known.items() if tabulated is not None)

    def in_use(wanted: frozenset[Lever], kept: Callable[[OperatingPoint], bool] = any_point) -> OperatingTables:
        if not one.certified_only:
            return tables_of(replace(measured, levers=wanted), certified_only=False, kept=kept)
        for count in range(len(wanted), 0, -1):  # as many as are certified beside one another
            for some in combinations(sorted(wanted), count):
                with suppress(ProfileError):
                    return tables_of(with_levers(measured, some), certified_only=True, kept=kept)
        return tables_of(measured, certified_only=True, kept=kept)

    every = in_use(levers)
    full = float(one.mix @ plain.accuracy[:, 0])
    gains = GAINS if Lever.WIDTH in levers else ()
    accuracy = (*(min(1.0, full + gain) for gain in gains), *(full - loss for loss in LOSSES))

    def fewest(tables: OperatingTables) -> tuple[float | None, ...]:
        mine = front(one, tables)
        return tuple(mine.tokens_at(wanted) for wanted in accuracy)

    def without(lever: str, kept: Callable[[OperatingPoint], bool]) -> WithoutLever:
        return WithoutLever(lever=lever, tokens=fewest(in_use(levers, kept)))

    found = [
        without("thresholds", lambda point: point.threshold is None),
        without("budgets", lambda point: point.budget is None),
    ]
    for lever in sorted(levers):
        found.append(WithoutLever(lever=NAMES[lever], tokens=fewest(in_use(levers - {lever}))))
    if measured.index is not None:
        priced = replace(measured, levers=frozenset({Lever.PRICE_INDEX}))
        by_price = tables_of(priced, certified_only=one.certified_only)
        found.append(WithoutLever(lever="thresholds, with a price index", tokens=fewest(by_price)))
    if one.certified_only and measured.certificate.mean is None and measured.certificate.epsilon < PEAK:
        found.append(WithoutLever(lever="account of risk", tokens=fewest(plain), against=with_account(one, accuracy)))
    return LeverWorth(accuracy=accuracy, tokens=fewest(every), without=tuple(found), order=order_worth(one))


def with_account(one: Situation, accuracy: Sequence[float]) -> tuple[float | None, ...]:
    """Returns the fewest tokens of a mean request at each accuracy, where an account keeps the risk on average.

    Any one request's risk is at most PEAK. Requests are spread over settings, as an account allows over time.
    """
    risk = one.measured.certificate.epsilon
    tables = within_account(one.measured, risk, PEAK).tables()
    charges = tables.charges
    assert charges is not None
    if charges.own:
        share = np.repeat(one.mix, len(tables.points))
        member = np.repeat(np.eye(len(one.mix)), len(tables.points), axis=1)
        costs = np.stack([tables.tokens.ravel(), -tables.accuracy.ravel(), charges.of.ravel()]) * share
    else:
        levels = ChargedLadders(tables, one.load(1.0)).at(0.0)
        assert levels.charge is not None
        member = np.ones((1, len(levels.tokens)))
        costs = np.stack([levels.tokens, -levels.accuracy, levels.charge])
    found = [
        linprog(costs[0], A_ub=costs[1:], b_ub=[1e-9 - wanted, risk], A_eq=member, b_eq=np.ones(len(member)))
        for wanted in accuracy
    ]
    return tuple(float(each.fun) if each.status == 0 else None for each in found)


def order_worth(one: Situation) -> OrderWorth | None:
    """Simulates both orders on the points that are planned for each rate; None: the spread of lengths is not known.

    Who is shed is not simulated. Lengths are lognormal with the mean and the spread of the class at its point; a
    request's own length is not known when its turn comes.
    """
    if one.tables.square is None:
        return None
    shortest: list[float] = []
    first: list[float] = []
    for rate in one.rates:
        arrivals, tokens, expected = _requests(one, one.tables, rate)
        for found, rank in ((shortest, expected), (first, None)):
            found.append(float(_served(one, arrivals, tokens, rank).latency.mean()))
    return OrderWorth(rates=one.rates, shortest_s=tuple(shortest), first_come_s=tuple(first))


def _served(one: Situation, arrivals: Array, tokens: npt.NDArray[np.int64], rank: Array | None) -> Measured:
    return simulate(
        step_time=one.plant.step_time,
        max_batch=one.plant.max_batch,
        arrivals=arrivals,
        tokens=tokens,
        prompt=round(one.tables.prompt),
        rank=rank,
    )


def _requests(one: Situation, tables: OperatingTables, rate: float) -> tuple[Array, npt.NDArray[np.int64], Array]:
    """Draws arrivals, s, tokens, and the tokens that each request's class lets expect."""
    assert tables.square is not None
    decided = decide(tables, one.objective, one.load(rate), one.plant)
    served = np.maximum(1.0 - decided.shed, 1e-9)
    mixture = decided.mixture / np.maximum(decided.mixture.sum(axis=1, keepdims=True), 1e-9)
    share = one.mix * served
    rng = np.random.default_rng(SEED)
    member = rng.choice(len(share), size=REQUESTS, p=share / share.sum())
    points = np.array([rng.choice(mixture.shape[1], p=row / row.sum()) for row in mixture[member]])
    mean, square = tables.tokens[member, points], tables.square[member, points]
    sigma = np.sqrt(np.log(np.maximum(square / mean**2, 1.0)))
    tokens = np.maximum(1, np.round(rng.lognormal(np.log(mean) - sigma**2 / 2.0, sigma))).astype(np.int64)
    arrivals = np.cumsum(rng.exponential(1.0 / (rate * float(share.sum())), REQUESTS))
    return arrivals, tokens, (mixture * tables.tokens).sum(axis=1)[member]
