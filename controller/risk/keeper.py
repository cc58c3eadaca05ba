"""The keeper: what each request is charged for as it begins, and the limits that it then may meet.

A request is charged, as it begins, for the laxest corner that the present limits let it meet: where classes have bounds
of their own, for its class's, else for the laxest of all classes. If the account is short, it is charged for the
cheapest corner within that one that the account affords. Later limits are held to the corner. They go beyond it
only for a top-up: at age a, to r(corner)/S(a) in all, S(a) the least share of thoughts that live so long under what was
charged for, since whoever still runs is not like all.

What a request saves counts once it is served; who leaves before its thought was looked at gets the charge back. A
top-up that was refused is asked for again once there is enough left.

A budget is never lowered below what a running thought has passed: no closings there were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from controller.policy import Limits
from controller.risk.account import Allowance, RiskAccount, RiskSettings, RiskStatus, Stake
from models.profile.give_up import GiveUpCurve, GiveUpLimit
from models.profile.harm import Corner, Harm
from models.profile.profile import Profile

FULL: Corner = (0, 0, 0)  # the full thought
MORE = 1.1  # times what was left, after which what a key's share has refused is asked for again


@dataclass(slots=True, kw_only=True)
class Grant:
    """What a request may meet, and what it has been charged."""

    key: str
    place: int  # of its class
    corner: Corner
    charged: float
    pays: bool
    stake: Stake | None = None  # in the account; None: it does not pay, or has ended
    looked: bool = False  # whether its running thought was looked at
    budget: int | None = None  # in force at the last look; None: none was
    denied: Corner | None = None  # the last corner that it was not topped up to; None: none yet
    retry: float = math.inf  # what must be left in the account before that corner is asked for again


class RiskKeeper:
    """Charges requests, and holds each to what it was charged for. All calls come from the engine's thread."""

    def __init__(self, profile: Profile, settings: RiskSettings, *, time_s: Callable[[], float]) -> None:
        """`profile`: certified for an account. `time_s`: a clock that the account's windows are measured by."""
        mean, harm = profile.certificate.mean, profile.harm
        assert mean is not None, "a keeper is for a profile that is certified for an account"
        assert harm is not None, "such a profile has bounds"
        self._harm: Harm = harm
        self._peak = profile.certificate.epsilon
        self._settings = settings
        self._now = time_s
        self._classes = {name: d for d, name in enumerate(profile.classes)}
        self._thresholds, self._budgets = profile.thresholds, profile.budgets
        self._rows = {threshold: i for i, threshold in enumerate(profile.thresholds)}
        self._columns = {budget: j for j, budget in enumerate(profile.budgets)}
        curves = profile.curves
        self._curves: tuple[GiveUpCurve | None, ...] = (None, *(() if curves is None else curves.curves))
        self._levels = {curve: c for c, curve in enumerate(self._curves)}
        self._medians = () if curves is None else curves.medians
        tables = np.array([profile.tokens, *(() if curves is None else curves.tokens)])
        # [curve, class, threshold, budget]; a class's corners by what they take of its own thoughts, or one order for
        # all: one bound for all classes holds for a corner that all of them stay within
        classes = [tables[:, place] for place in range(len(self._classes))]
        if not harm.own:
            classes = [np.average(tables, axis=1, weights=profile.counts)] * len(classes)
        self._cheapest: list[list[Corner]] = [_by_tokens(tokens) for tokens in classes]
        laxest = len(self._curves) - 1, len(self._rows) - 1, len(self._columns) - 1
        self._free = [self._affordable(place, laxest, mean) for place in range(len(self._classes))]
        self._wanted: dict[str | None, Corner] = {}
        self.account = RiskAccount(mean, settings)
        self._held_back = self._top_ups = 0

    # --- what the controller tells and asks -------------------------------------------------------------------------

    def settle(self, settings: RiskSettings) -> None:
        """Applies new settings."""
        self._settings = settings
        self.account.settle(settings)

    def expect(self, limits: Mapping[str | None, Limits], target: Mapping[str | None, Limits]) -> None:
        """Takes the limits of each class that are in force, and those that they are on their way to."""
        corners = {name: _join((self._corner(each), self._corner(target[name]))) for name, each in limits.items()}
        if not self._harm.own:  # one bound for all classes holds for a corner that all of them stay within
            joint = _join(corners.values())
            corners = dict.fromkeys(corners, joint)
        self._wanted = corners

    def allowance(self, rate: float) -> Allowance:
        """Returns what a plan may spend for a load of `rate` requests/s."""
        account, soon = self.account, max(1.0, rate * self._settings.horizon_s)
        return Allowance(charge=account.risk + max(0.0, account.left) / soon, worth=self.worth)

    @property
    def worth(self) -> float:
        """What a unit of risk is worth if it is kept, right answers: the less, the fuller the account."""
        account = self.account
        return self._settings.worth * max(0.0, 1.0 - account.left / account.most)

    def status(self, price: float) -> RiskStatus:
        """Returns the account's state; `price`: right answers that a unit of risk costs now."""
        account = self.account
        return RiskStatus(
            risk=account.risk,
            peak=self._peak,
            requests=account.requests,
            spent=account.spent,
            left=account.left,
            most=account.most,
            refused=self._held_back,
            topped_up=self._top_ups,
            price=price,
        )

    # --- what the serving loop asks ---------------------------------------------------------------------------------

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> Grant:
        """Returns what a request may meet that begins now; who does not pay is held to the average's corner."""
        place = self._classes.get(difficulty or "", len(self._classes) - 1)
        wanted = self._wanted.get(difficulty, self._wanted.get(None, FULL))
        if not pays:
            return Grant(key=key, place=place, corner=self._free[place], charged=0.0, pays=False)
        now = self._now()
        most = min(self.account.open_to(key, now), self._peak)
        corner = wanted
        if self._charge(place, corner) > most:
            self._held_back += self._charge(place, corner) <= self._peak  # else it is not for want of savings
            corner = self._affordable(place, wanted, most)
        charge = self._charge(place, corner)
        stake = self.account.admit(charge, key, now)
        return Grant(key=key, place=place, corner=corner, charged=charge, pays=True, stake=stake)

    def served(self, grant: Grant) -> None:
        """A request was served, or has left behind an exit: what it saves may be spent."""
        stake, grant.stake = grant.stake, None
        if stake is not None:
            self.account.serve(stake, self._now())

    def void(self, grant: Grant) -> None:
        """Ends a request that was not served; undoes its charge if its thought was never looked at."""
        stake, grant.stake = grant.stake, None
        if stake is not None:
            (self.account.leave if grant.looked else self.account.void)(stake, self._now())

    def within(self, grant: Grant, limits: Limits, age: int) -> Limits:
        """Returns the limits of a thought of `age` tokens: the policy's, as far as its grant or a top-up goes."""
        grant.looked |= age > 0
        asked = self._corner(limits)
        if not _inside(asked, grant.corner):
            wanted = self._wanted_by(grant, asked)
            if (wanted != grant.denied or self.account.left >= grant.retry) and not self._topped_up(grant, wanted, age):
                grant.denied = wanted
        curve, row, column = map(min, asked, grant.corner)
        while column and self._passed(self._budgets[column], grant.budget, age):
            column -= 1
        grant.budget = self._budgets[column]
        if (curve, row, column) == asked:
            return limits
        return self._limits(limits, (curve, row, column), grant.place)

    # --- corners ----------------------------------------------------------------------------------------------------

    def _wanted_by(self, grant: Grant, corner: Corner) -> Corner:
        others = () if self._harm.own else self._wanted.values()
        return _join((grant.corner, corner, *others))

    def _topped_up(self, grant: Grant, corner: Corner, age: int) -> bool:
        """Charges a running thought for a laxer corner, if it pays, its age is known and the account affords it."""
        grant.retry = math.inf  # who is older is dearer: what the peak refuses stays refused
        if grant.stake is None:
            return False
        alive = 1.0 if age == 0 else self._harm.share_alive(grant.place, grant.corner, age)
        charge = self._charge(grant.place, corner)
        if not alive or charge > self._peak * alive:
            return False
        more = max(0.0, charge / alive - grant.charged)
        if not self.account.top_up(grant.stake, more, self._now()):
            grant.retry = max(more, MORE * self.account.left)
            return False
        grant.corner, grant.charged = corner, grant.charged + more
        self._top_ups += age > 0
        return True

    def _charge(self, place: int, corner: Corner) -> float:
        return float(self._harm.bounds[place][corner])

    def _affordable(self, place: int, within: Corner, most: float) -> Corner:
        """Returns the corner within another one that has the fewest tokens of those charged at most `most`."""
        bounds = self._harm.bounds[place]
        open_to = (corner for corner in self._cheapest[place] if _inside(corner, within) and bounds[corner] <= most)
        return next(open_to, FULL)

    def _corner(self, limits: Limits) -> Corner:
        curve = None if limits.give_up is None else limits.give_up.curve
        return self._levels[curve], self._rows[limits.threshold], self._columns[limits.budget]

    def _limits(self, limits: Limits, corner: Corner, place: int) -> Limits:
        """Returns limits as they are at a corner, for a class; what is never probed has no lower curve."""
        curve, threshold = self._curves[corner[0]], self._thresholds[corner[1]]
        lower = None
        if curve is not None and threshold is not None:
            lower = GiveUpLimit(curve=curve, median=self._medians[place])
        return replace(limits, threshold=threshold, budget=self._budgets[corner[2]], give_up=lower)

    @staticmethod
    def _passed(budget: int | None, before: int | None, age: int) -> bool:
        """Whether a thought of `age` tokens is beyond a budget that was not in force when it came there."""
        return budget is not None and budget <= age and (before is None or budget < before)


def _by_tokens(tokens: npt.NDArray[np.float64]) -> list[Corner]:
    """Returns all corners [curve, threshold, budget], those of the fewest tokens first."""
    return sorted(np.ndindex(tokens.shape), key=lambda corner: float(tokens[corner]))


def _join(corners: Iterable[Corner]) -> Corner:
    curves, rows, columns = zip(*corners, strict=True)
    return max(curves), max(rows), max(columns)


def _inside(corner: Corner, of: Corner) -> bool:
    return all(place <= most for place, most in zip(corner, of, strict=True))
