"""The account: a bucket that each served request fills by what it leaves of `risk`, and that dearer ones draw from.

A request is charged r as it begins. Of `risk` it spends its own; what it is charged above, it draws from the savings B,
which start at 0 and are never below 0; what it is charged below, it saves once it is served, so that nothing is drawn
that nobody may have earned. A request that leaves before its thought was looked at neither pays nor earns: its draw
goes back, its own share lapses. One that leaves later had its chance of an exit, and whoever leaves is not like all: it
stays charged, and earns nothing. So the sum charged is at most risk·n from the start, for n requests that were looked
at or served, whatever arrives and whoever leaves. What is saved, what open requests will save and what they would give
back is at most B_max together, so over any time no more is charged than `risk` for each request that begins in it, and
B_max. B_max is a quarter of `risk` for each request served in the last `window_s`, and at least `risk`.

A key draws at most its share: of all that could be drawn in the last `share_s` (what was drawn, and what is left), its
share of the requests served in that time, the one that asks included.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from models.files.checks import not_negative, positive

PARTS = 60  # of a rolling window
SAVED = 0.25  # of the income of a window that may be saved
EXACT = 1e-12  # sums of floats may differ by as much


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskSettings:
    """The account of risk of a load-aware policy that has one."""

    window_s: float = 86_400.0  # seconds; of the income of so long, a quarter may be saved
    share_s: float = 3600.0  # seconds of requests that give each key its share of the savings
    # right answers that a unit of saved risk is worth when nothing is saved; falls to 0 when the account is full
    worth: float = 1.0
    horizon_s: float = 30.0  # seconds of requests that the savings must last for at the present rate

    def __post_init__(self) -> None:
        positive(self, "window_s", "share_s", "horizon_s")
        not_negative(self, "worth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the account allows a plan."""

    charge: float  # mean charge of a request over the horizon, at most
    worth: float  # right answers that a unit of risk is worth if it is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskStatus:
    """The account as it stands. Risks are sums over requests: 1 is as bad as a right answer that is spoilt for sure."""

    risk: float  # kept on average
    peak: float  # bound of any one request's
    requests: int  # that paid
    spent: float  # charged so far
    left: float  # saved, to be spent
    most: float  # that may be saved
    refused: int  # times that a request was held to a stricter corner than load asked for, as the account was short
    topped_up: int  # running thoughts that were charged for laxer limits
    price: float = 0.0  # right answers that a unit of risk costs now

    @property
    def mean(self) -> float:
        """The mean charge of a request; 0 before the first."""
        return self.spent / self.requests if self.requests else 0.0


class RollingSum:
    """A sum over the last seconds, in whole parts of the window: an entry counts for `window_s` and up to a part more.

    A clock that goes back counts as standing still.
    """

    def __init__(self, window_s: float) -> None:
        self._part_s = window_s / PARTS
        self._parts: deque[tuple[int, float]] = deque()  # (part, sum)
        self._sum = 0.0

    def add(self, now: float, value: float) -> None:
        """Adds a value at the time `now`, s."""
        part = math.floor(now / self._part_s)
        if self._parts and part <= self._parts[-1][0]:
            part, before = self._parts.pop()
            value, self._sum = before + value, self._sum - before
        self._parts.append((part, value))
        self._sum += value

    def at(self, now: float) -> float:
        """Returns the sum over the window that ends at `now`."""
        oldest = math.floor(now / self._part_s) - PARTS
        while self._parts and self._parts[0][0] < oldest:
            self._sum -= self._parts.popleft()[1]
        if not self._parts:
            self._sum = 0.0  # forgets what rounding has left
        return max(0.0, self._sum)

    def take_back(self, then: float, value: float) -> None:
        """Takes out a value that was added at the time `then`, if that is counted yet.

        It is taken from the last part that began by then: of a window of another length parts begin at other times.
        """
        part = math.floor(then / self._part_s)
        for place, (known, before) in reversed(list(enumerate(self._parts))):
            if known <= part:
                self._parts[place] = known, before - value
                self._sum -= value
                return

    def over(self, window_s: float) -> RollingSum:
        """Returns the sum over a window of another length, as far as it is remembered."""
        found = RollingSum(window_s)
        for part, value in self._parts:
            found.add(part * self._part_s, value)
        return found


@dataclass(slots=True, kw_only=True)
class Stake:
    """A request that has begun and has not ended: what it is charged, will save and has drawn."""

    key: str
    charged: float
    saves: float  # that goes to the savings once it is served
    drawn: list[tuple[float, float]] = field(default_factory=list)  # s and risk, of each draw


class _Holder:
    """What a key has done within the window."""

    def __init__(self, window_s: float) -> None:
        self.requests = RollingSum(window_s)
        self.drawn = RollingSum(window_s)


class RiskAccount:
    """The bucket, and the shares of the keys. Pure: the time, in s, comes with each call; one that goes back stands."""

    def __init__(self, risk: float, settings: RiskSettings) -> None:
        if not 0.0 < risk < 1.0:
            raise ValueError(f"risk is {risk}, must be above 0 and below 1")
        self.risk = risk
        self._settings = settings
        self._recent = RollingSum(settings.window_s)
        self._all = _Holder(settings.share_s)
        self._keys: dict[str, _Holder] = {}
        self._time = -math.inf
        self._swept = -math.inf  # when keys without requests were last dropped
        self.requests = 0
        self.spent = 0.0
        self.left = 0.0  # B
        self.most = risk  # B_max
        self._open = 0  # requests
        self._staked = 0.0  # what open requests will save, and would give back

    def settle(self, settings: RiskSettings) -> None:
        """Applies new settings: windows of another length count what the old ones remember."""
        if settings.window_s != self._settings.window_s:
            self._recent = self._recent.over(settings.window_s)
        if settings.share_s != self._settings.share_s:
            for holder in (self._all, *self._keys.values()):
                holder.requests, holder.drawn = (one.over(settings.share_s) for one in (holder.requests, holder.drawn))
        self._settings = settings

    def open_to(self, key: str, now: float) -> float:
        """Returns the most that the next request of a key may be charged; never below `risk`."""
        now = self._at(now)
        self._lapse(now)
        return self.risk + max(0.0, min(self.left, self._room(key, now)))

    def admit(self, charge: float, key: str, now: float) -> Stake:
        """Admits a request at this charge, until `serve`, `leave` or `void`.

        Raises ValueError if the charge is more than `open_to` returns.
        """
        now = self._at(now)
        most = self.open_to(key, now)
        if not 0.0 <= charge <= most + EXACT:
            raise ValueError(f"charge is {charge:g}, must be between 0 and {most:g}")
        self._sweep(now)
        room = max(0.0, self.most - self.left - self._staked)
        stake = Stake(key=key, charged=charge, saves=min(max(0.0, self.risk - charge), room))
        self.requests += 1
        self.spent += charge
        self._open += 1
        self._staked += stake.saves
        self._draw(stake, charge - self.risk, now)
        return stake

    def top_up(self, stake: Stake, more: float, now: float) -> bool:
        """Charges an open request for more: first what it would save. Returns False if the savings do not allow it.

        What it would have saved had there been room for it is not its own any more.
        """
        now, own = self._at(now), min(more, stake.saves)
        self._lapse(now)
        if more - own > max(0.0, min(self.left, self._room(stake.key, now))):
            return False
        stake.charged += more
        stake.saves -= own
        self.spent += more
        self._staked -= own
        self._draw(stake, more - own, now)
        return True

    def serve(self, stake: Stake, now: float) -> None:
        """Ends a request that was served, or has met what it was charged for: what it saves may be drawn from now."""
        now = self._at(now)
        self._recent.add(now, 1.0)
        for holder in self._holders(stake.key):
            holder.requests.add(now, 1.0)
        self._end(stake)
        self.left += stake.saves
        self._lapse(now)

    def leave(self, stake: Stake, now: float) -> None:
        """Ends a request that was not served, but looked at: it stays charged, and earns nothing."""
        self._end(stake)
        self._lapse(self._at(now))

    def void(self, stake: Stake, now: float) -> None:
        """Undoes the admission of a request that was never looked at: it neither pays nor earns, its draws go back."""
        self.requests -= 1
        self.spent -= stake.charged
        for then, drawn in stake.drawn:
            for holder in self._holders(stake.key):
                holder.drawn.take_back(then, drawn)
            self.left += drawn
        self._end(stake)
        self._lapse(self._at(now))

    def _lapse(self, now: float) -> None:
        """What was saved beyond what may be is lost, as the window leaves requests behind."""
        self.most = self._most(now)
        self.left = max(0.0, min(self.left, self.most - self._staked))

    def _draw(self, stake: Stake, risk: float, now: float) -> None:
        if risk <= 0.0:
            return
        for holder in self._holders(stake.key):
            holder.drawn.add(now, risk)
        self.left = _whole(self.left - risk)
        self._staked += risk
        stake.drawn.append((now, risk))

    def _end(self, stake: Stake) -> None:
        self._open -= 1
        staked = self._staked - stake.saves - sum(drawn for _, drawn in stake.drawn)
        self._staked = staked if self._open else 0.0  # forgets what rounding has left

    def _at(self, now: float) -> float:
        self._time = max(self._time, now)
        return self._time

    def _holders(self, key: str) -> tuple[_Holder, _Holder]:
        return self._all, self._keys.setdefault(key, _Holder(self._settings.share_s))

    def _most(self, now: float) -> float:
        return max(self.risk, SAVED * self.risk * self._recent.at(now))

    def _room(self, key: str, now: float) -> float:
        """Returns what a key may still draw of the savings, the request that asks counted as served."""
        holder = self._keys.get(key)
        mine, drawn = (holder.requests.at(now), holder.drawn.at(now)) if holder is not None else (0.0, 0.0)
        share = (mine + 1.0) / (self._all.requests.at(now) + 1.0)
        return share * (self._all.drawn.at(now) + self.left) - drawn

    def _sweep(self, now: float) -> None:
        """Drops keys without requests in the window, once in each part of it."""
        if len(self._keys) > 2 * PARTS and now - self._swept >= self._settings.share_s / PARTS:
            self._swept = now
            self._keys = {key: one for key, one in self._keys.items() if one.requests.at(now) or one.drawn.at(now)}


def _whole(left: float) -> float:
    return 0.0 if -EXACT <= left < 0.0 else left
