"""A profile with other certified points: of one lever, within one corner, or certified at another risk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.profile.certificate import Certificate, certify
from models.profile.harm import Harm
from models.profile.lever import Lever
from models.profile.levers.ladder import nested
from models.profile.profile import Profile, ProfileError
from models.profile.tables import OperatingTables, turning_prices

NO_LESS = 1e-12  # right answers by which sums of equal ones may differ


def thresholds_only(profile: Profile) -> Profile:
    """Returns the profile with only the certified points that have no budget."""
    return _restricted(profile, lambda _threshold, budget: budget == 0)


def budgets_only(profile: Profile) -> Profile:
    """Returns the profile with only the certified points that never probe."""
    return _restricted(profile, lambda threshold, _budget: threshold == 0)


def within_one_corner(profile: Profile) -> Profile:
    """Returns the profile with the certified points that lie within one of them: the corner that gives up least.

    Load leads classes and running thoughts from one point to another. What two points let a thought meet together is
    certified if both lie within one certified corner, whose risk counts every exit within it. Otherwise it may exceed
    the risk of either. Races stay, by a certificate of their own. Where `give_up` and `no_thought` are both in use, the
    corner has points of one of them, since none was certified for both. An account of risk charges each request for
    what it may meet, so its profile is returned as it is.
    """
    if profile.certificate.mean is not None or len(profile.points()) == 1:
        return profile
    tables = profile.tables().alone()
    point = tables.points[best_corner(tables, profile.counts)]
    row, column = profile.thresholds.index(point.threshold), profile.budgets.index(point.budget)
    kept = replace(profile, certificate=_up_to(profile.certificate, row, column))
    if (priced := profile.priced) is not None:
        price = 0 if point.price is None else 1 + priced.prices.index(point.price)
        assert priced.certificate is not None, "it certifies more than the full thought"
        kept = replace(kept, index=replace(priced, certificate=_up_to(priced.certificate, price, column)))
    if (curves := profile.curves) is not None:
        level = 0 if point.give_up is None else 1 + curves.curves.index(point.give_up)
        within = _mask(curves.certified, level, row, column)
        kept = replace(kept, give_up=replace(curves, certified=nested(within)))
    if (cut_offs := profile.cut_offs) is not None:
        cut_off = 0 if point.skip is None else 1 + cut_offs.cut_offs.index(point.skip)
        within = _mask(cut_offs.certified, cut_off, row, column)
        kept = replace(kept, no_thought=replace(cut_offs, certified=nested(within)))
    return kept


def within_risk(profile: Profile, risk: float) -> Profile:
    """Returns the profile certified at a risk of `risk` instead of the calibration's, at the same confidence.

    The certificate holds only if the risk was chosen before looking at its outcome. Raises ProfileError if the profile
    has too few questions to certify anything at this risk.
    """
    given, give_up, no_thought = profile.certificate, profile.give_up, profile.no_thought
    try:
        return replace(
            profile,
            certificate=_again(given, risk),
            give_up=None if give_up is None else give_up.at_risk(risk, given.delta, given.count),
            index=None if profile.index is None else profile.index.certified_at(risk, given.delta),
            no_thought=None if no_thought is None else no_thought.at_risk(risk, given.delta, given.count),
            width=None if profile.width is None else profile.width.at_risk(risk),
            contest=None,  # held among other points
        )
    except ValueError as error:
        raise ProfileError(f"risk is {risk:g}, for which the profile is too small: {error}") from error


def within_account(profile: Profile, risk: float, peak: float) -> Profile:
    """Returns the profile with the points whose risk is at most `peak`, for an account that keeps `risk` on average.

    All bounds hold at once, at the calibration's confidence. Raises ProfileError if `peak` is below `risk`.
    """
    if peak < risk:
        raise ProfileError(f"risk_peak is {peak:g}, must be at least the risk, {risk:g}")
    given, give_up = replace(profile.certificate, epsilon=peak, mean=risk), profile.give_up
    classes = len(profile.classes)
    bounds = Harm.of(given, classes).bounds.max(axis=0)[0]
    safe = bounds <= peak
    if given.refused is not None:
        safe = np.zeros_like(safe)
    safe[0, 0] = True
    said = replace(
        given,
        bounds=tuple(tuple(row) for row in bounds.tolist()),
        certified=tuple(tuple(row) for row in safe.tolist()),
    )
    if give_up is not None:
        give_up = give_up.within_bounds(Harm.of(given, classes, give_up).bounds.max(axis=0), peak)
    return replace(profile, certificate=said, give_up=give_up, contest=None)


def standing(profile: Profile) -> Profile:
    """Returns the profile with the points that an account can always afford; without an account, the profile itself."""
    mean = profile.certificate.mean
    if mean is None:
        return profile
    found = within_account(profile, mean, mean)
    return worst_benchmark(found) if profile.worst_benchmark else found


def with_levers(profile: Profile, levers: Collection[Lever]) -> Profile:
    """Returns the profile with these levers in use beside thresholds and budgets, as far as they are certified.

    Where several have tables of their own, these share δ. Raises ProfileError if it has no points of a lever, if none
    of them is certified, or if two exclude each other.
    """
    try:
        check_price_alone(levers)
    except ValueError as error:
        raise ProfileError(str(error)) from error
    if {Lever.GIVE_UP, Lever.NO_THOUGHT} <= set(levers):
        profile = _sharing(profile, 2)
    for lever in levers:
        _check[lever](profile)
    return replace(profile, levers=frozenset(levers), contest=None) if levers else profile


def check_price_alone(levers: Collection[Lever]) -> None:
    """Raises ValueError if a price index is in use beside a lever that is certified beside thresholds alone."""
    excluded = {
        Lever.GIVE_UP: "a price has no lower curve",
        Lever.NO_THOUGHT: "cut-offs are certified beside thresholds",
        Lever.WIDTH: "races are weighed beside thresholds",
    }
    for lever, reason in excluded.items():
        if Lever.PRICE_INDEX in levers and lever in levers:
            name = lever.replace("-", "_")
            raise ValueError(f"price_index and {name} are both True, must be one of them: {reason}")


def _check_giving_up(profile: Profile) -> None:
    if profile.give_up is None:
        raise ProfileError(
            "give_up is True, but the profile has no points at which thoughts are given up: "
            "`laser calibrate --give-up` tabulates them"
        )
    if profile.give_up.refused is not None:
        raise ProfileError(f"give_up is True, but the profile certifies no giving up: {profile.give_up.refused}")


def _check_price_index(profile: Profile) -> None:
    if profile.index is None:
        raise ProfileError(
            "price_index is True, but the profile has no index of running thoughts: "
            "`laser calibrate --price-index` tabulates it"
        )
    if profile.certificate.mean is not None:
        raise ProfileError("price_index is True beside risk_peak, must be one of them: no account charges prices")
    if profile.index.refused is not None:
        raise ProfileError(f"price_index is True, but the profile certifies no price: {profile.index.refused}")


def _check_no_thought(profile: Profile) -> None:
    if profile.no_thought is None:
        raise ProfileError(
            "no_thought is True, but the profile has no points that answer at once: "
            "`laser calibrate --no-thought` tabulates them"
        )
    if profile.certificate.mean is not None:
        raise ProfileError("no_thought is True, must be False beside an account of risk: it charges no answers at once")
    if profile.no_thought.refused is not None:
        raise ProfileError(f"no_thought is True, but the profile certifies no cut-off: {profile.no_thought.refused}")


def _check_width(profile: Profile) -> None:
    if profile.width is None:
        raise ProfileError(
            "width is True, but the profile has no points at which thoughts race: `laser calibrate --width 5` "
            "tabulates them"
        )
    if profile.width.refused is not None:
        raise ProfileError(f"width is True, but the profile certifies no race: {profile.width.refused}")
    account = profile.certificate.mean is not None
    if not profile.width.usable(free=account):
        least, most = min(profile.width.bounds), 0.0 if account else profile.width.epsilon
        raise ProfileError(
            f"width is True, but the profile certifies no race: the least bound of a net loss is {least:.3f}, must be "
            f"at most {most:g}{', since an account of risk pays for none' if account else ''}"
        )


_check: dict[Lever, Callable[[Profile], None]] = {
    Lever.GIVE_UP: _check_giving_up,
    Lever.PRICE_INDEX: _check_price_index,
    Lever.NO_THOUGHT: _check_no_thought,
    Lever.WIDTH: _check_width,
}


def _sharing(profile: Profile, ways: int) -> Profile:
    """Returns the profile with the tables of levers certified at so many times less δ, which they share."""
    given, give_up, no_thought = profile.certificate, profile.give_up, profile.no_thought
    if give_up is None or no_thought is None or given.mean is not None:
        return profile  # and the check of a lever refuses it
    at = given.epsilon, given.delta / ways, given.count
    return replace(profile, give_up=give_up.at_risk(*at), no_thought=no_thought.at_risk(*at))


def worst_benchmark(profile: Profile) -> Profile:
    """Returns the profile with the points at which every benchmark's risk is within the profile's, too.

    So it is within each class of a benchmark with enough questions there, as `models.profile.levers.benchmarks` tells.
    With an account of risk requests are charged for the worst benchmark. Raises ProfileError if the benchmarks were not
    told apart, or if a lever is in use beside thresholds and budgets, whose harm is not counted by benchmark.
    """
    apart, given = profile.benchmarks, profile.certificate
    if apart is None:
        raise ProfileError(
            "worst_benchmark is True, but the profile does not tell its benchmarks apart: run `laser calibrate` again"
        )
    if profile.levers:
        named = " and ".join(sorted(lever.replace("-", "_") for lever in profile.levers))
        raise ProfileError(f"worst_benchmark is True and {named}, too: what that harms was not counted by benchmark")
    chosen = replace(profile, worst_benchmark=True, contest=None)
    safe = apart.certified(given.epsilon, given.delta)
    if (harm := chosen.harm) is not None:
        safe = harm.bounds.max(axis=0)[0] <= given.epsilon
    both = np.array(given.certified) & safe
    both[0, 0] = given.certified[0][0]
    said = replace(given, certified=tuple(tuple(row) for row in both.tolist()))
    return replace(chosen, certificate=said)


def best_corner(tables: OperatingTables, counts: Sequence[int]) -> int:
    """Returns the point whose corner is worth most, the widest of those worth as much; `counts`: questions by class.

    Its worth is added up over the `turning_prices`.
    """
    inside, shares = tables.inside(), np.array(counts) / sum(counts)
    widest, total = inside.sum(axis=1), np.zeros(len(tables.points))
    for price in turning_prices(tables):
        worth = tables.accuracy - price * tables.tokens
        total += shares @ np.where(inside, worth[:, None, :], -np.inf).max(axis=2)
    best = np.flatnonzero(total >= total.max() - NO_LESS)
    return int(best[widest[best].argmax()])


def _up_to(certificate: Certificate, row: int, column: int) -> Certificate:
    """Returns a certificate of nothing beyond a row and a column."""
    within = _mask(certificate.certified, row, column)
    return replace(certificate, certified=tuple(tuple(line) for line in within.tolist()))


def _mask(certified: Any, *corner: int) -> npt.NDArray[np.bool_]:
    """Returns what is certified up to a corner, which has a place on each axis."""
    within = np.zeros(np.shape(certified), dtype=np.bool_)
    within[tuple(slice(0, place + 1) for place in corner)] = True
    return np.logical_and(within, np.array(certified, dtype=np.bool_))


def _again(given: Certificate, risk: float) -> Certificate:
    return certify(given.harmed, given.count, epsilon=risk, delta=given.delta, evidence=given.evidence)


def _restricted(profile: Profile, kept: Callable[[int, int], bool]) -> Profile:
    """Returns the profile with the certified points [threshold, budget] that are `kept`; [0, 0] is the full thought."""
    table = tuple(
        tuple(safe and kept(i, j) for j, safe in enumerate(row)) for i, row in enumerate(profile.certificate.certified)
    )
    return replace(profile, certificate=replace(profile.certificate, certified=table), contest=None)
