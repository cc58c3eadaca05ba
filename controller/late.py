"""A controller that is made while requests are served already: its libraries take seconds to import."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from controller.policy import Limits
from controller.selection import limits_at, safe_points
from models.profile.profile import Profile
from models.profile.tables import OperatingPoint

if TYPE_CHECKING:
    from controller.controller import Controller
    from controller.risk.keeper import Grant, RiskKeeper

log = logging.getLogger(__name__)


def on_a_thread(work: Callable[[], None]) -> None:
    """Does the work on a thread of its own, which does not keep the process alive."""
    threading.Thread(target=work, name="controller", daemon=True).start()


class LateController:
    """A Policy and a LoadObserver: the safe point until its controller is made, then that controller."""

    def __init__(
        self,
        profile: Profile,
        make: Callable[[], Controller],
        start: Callable[[Callable[[], None]], None] = on_a_thread,
    ) -> None:
        """`profile`: the controller's. `start` begins the making."""
        tables = profile.tables()
        limits = limits_at(tables, safe_points(tables, profile.certificate.mean))
        self._limits: dict[str | None, Limits] = {**dict(zip(profile.classes, limits, strict=True)), None: limits[-1]}
        self.certified: tuple[OperatingPoint, ...] = tables.points  # that may be handed out
        self._make = make
        self._start = start
        self.controller: Controller | None = None  # None: it is not made yet, or could not be made
        # of the account of risk, if the profile is certified for one; before the controller is made nobody pays
        self.keeper = None if profile.certificate.mean is None else LateKeeper(self)

    def begin(self) -> None:
        """Has the controller made."""
        self._start(self._work)

    def _work(self) -> None:
        try:
            self.controller = self._make()
        except Exception:  # certified limits must still bound the thoughts
            log.exception("the controller could not be made; the safe point stays in force")

    # --- Policy -----------------------------------------------------------------------------------------------------

    def limits(self, difficulty: str | None) -> Limits:
        if self.controller is not None:
            return self.controller.limits(difficulty)
        return self._limits.get(difficulty) or self._limits[None]

    @property
    def made_keeper(self) -> RiskKeeper | None:
        """The controller's keeper; None: it is not made yet."""
        return None if self.controller is None else self.controller.keeper

    # --- LoadObserver -----------------------------------------------------------------------------------------------

    def arrived(self, difficulty: str | None) -> None:
        if self.controller is not None:
            self.controller.arrived(difficulty)

    def finished(self, difficulty: str | None, tokens: int) -> None:
        if self.controller is not None:
            self.controller.finished(difficulty, tokens)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        if self.controller is not None:
            self.controller.stepped(batch, context, seconds)

    def tick(self, now: float, in_system: int) -> None:
        if self.controller is not None:
            self.controller.tick(now, in_system)


class LateKeeper:
    """A Keeper: the controller's, once that is made. Requests before it keep the safe point, and do not pay."""

    def __init__(self, late: LateController) -> None:
        self._late = late

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> Grant | Limits:
        keeper = self._late.made_keeper
        return self._late.limits(difficulty) if keeper is None else keeper.admit(difficulty, key, pays=pays)

    def within(self, grant: Grant | Limits, limits: Limits, age: int) -> Limits:
        if isinstance(grant, Limits):
            return grant
        keeper = self._late.made_keeper
        assert keeper is not None, "it has given the grant"
        return keeper.within(grant, limits, age)

    def served(self, grant: Grant | Limits) -> None:
        keeper = self._late.made_keeper
        if keeper is not None and not isinstance(grant, Limits):
            keeper.served(grant)

    def void(self, grant: Grant | Limits) -> None:
        keeper = self._late.made_keeper
        if keeper is not None and not isinstance(grant, Limits):
            keeper.void(grant)
