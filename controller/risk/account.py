"""The account: a bucket that each paying request fills by `risk`, and that is charged for what the request may meet.

B ← min(B_max, B + risk) − r at each admission; B starts at 0, and r is at most what is there. So the sum charged over
any n requests in a row is at most risk·n + B_max, and from the start at most risk·n, whatever arrives. B_max is a
quarter of `risk` for each request of the last `window_s`, and at least `risk`.

What a request is charged above `risk` is drawn from the savings. A key draws at most its share: of all that could be
drawn in the last `share_s` (what was drawn, and what is left), its share of the requests of that time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from models.files.checks import not_negative, positive

PARTS = 60  # of a rolling window
SAVED = 0.25  # of the income of a window that may be saved
EXACT = 1e-12  # sums of floats may differ by as much


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskSettings:
    """The account of risk of a load-aware policy that has one."""

    window_s: float = 86_400.0  # seconds; of the income of so long, a quarter may be saved
    share_s: float = 3600.0  # seconds of requests that give each key its share of the savings
    # right answers for which the last unit of saved risk is spent; less, the fuller the account
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


class _Holder:
    """What a key has done within the window."""

    def __init__(self, window_s: float) -> None:
        self.requests = RollingSum(window_s)
        self.drawn = RollingSum(window_s)


class RiskAccount:
    """The bucket, and the shares of the keys. Pure: the time, in s, comes with each call."""

    def __init__(self, risk: float, settings: RiskSettings) -> None:
        if not 0.0 < risk < 1.0:
            raise ValueError(f"risk is {risk}, must be above 0 and below 1")
        self.risk = risk
        self._settings = settings
        self._recent = RollingSum(settings.window_s)
        self._all = _Holder(settings.share_s)
        self._keys: dict[str, _Holder] = {}
        self.requests = 0
        self.spent = 0.0
        self.left = 0.0  # B
        self.most = risk  # B_max

    def open_to(self, key: str, now: float) -> float:
        """Returns the most that the next request of a key may be charged."""
        room = max(0.0, self._room(key, now, coming=1))
        return max(0.0, min(self._most(now, 1), self.left + self.risk, self.risk + room))

    def admit(self, charge: float, key: str, now: float) -> None:
        """Admits a request at this charge. Raises ValueError if that is more than `open_to` returns."""
        most = self.open_to(key, now)
        if not 0.0 <= charge <= most + EXACT:
            raise ValueError(f"charge is {charge:g}, must be between 0 and {most:g}")
        self._recent.add(now, 1.0)
        for holder in (self._all, self._keys.setdefault(key, _Holder(self._settings.share_s))):
            holder.requests.add(now, 1.0)
            holder.drawn.add(now, max(0.0, charge - self.risk))
        self.most = self._most(now, 0)
        self.requests += 1
        self.spent += charge
        self.left = _whole(min(self.most, self.left + self.risk) - charge)
        if len(self._keys) > 2 * PARTS:
            self._forget(now)

    def top_up(self, charge: float, key: str, now: float) -> bool:
        """Charges a running thought for more, from the savings alone; returns False if they do not allow it."""
        if charge > max(0.0, min(self.left, self._room(key, now, coming=0))):
            return False
        for holder in (self._all, self._keys.setdefault(key, _Holder(self._settings.share_s))):
            holder.drawn.add(now, charge)
        self.spent += charge
        self.left -= charge
        return True

    def void(self, charge: float) -> None:
        """Undoes the admission of a request that was not served: it neither pays nor earns.

        If what it had earned is spent already, B falls below 0, and nothing is drawn until it is paid back.
        """
        self.requests -= 1
        self.spent -= charge
        self.left = min(self.most, self.left + charge - self.risk)

    def _most(self, now: float, coming: int) -> float:
        return max(self.risk, SAVED * self.risk * (self._recent.at(now) + coming))

    def _room(self, key: str, now: float, *, coming: int) -> float:
        """Returns what a key may still draw of the savings, where it has `coming` requests more than are counted."""
        holder = self._keys.get(key)
        mine, drawn = (holder.requests.at(now), holder.drawn.at(now)) if holder is not None else (0.0, 0.0)
        everyone = self._all.requests.at(now) + coming
        share = (mine + coming) / everyone if everyone else 0.0
        income = self.risk if coming else 0.0
        return share * (self._all.drawn.at(now) + self.left + income) - drawn

    def _forget(self, now: float) -> None:
        """Drops keys without requests in the window."""
        self._keys = {key: one for key, one in self._keys.items() if one.requests.at(now) or one.drawn.at(now)}


def _whole(left: float) -> float:
    return 0.0 if -EXACT <= left < 0.0 else left
