"""The controller driven by hand: a made profile, a solver that answers at once, a clock that the test moves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from controller.controller import Controller
from controller.planning.plan import Plan, Solver, SolveRequest
from controller.planning.planner import Planner
from controller.settings import SettingsFile
from controller.status import ControllerStatus
from models.profile.profile import Profile
from models.profile.tables import OperatingPoint
from tests.support.analysis_profile import CLASSES, made_profile

PROFILE = made_profile(certified_to=5)  # 0.5 and 0.65 are not certified


QUALITY = PROFILE.tables()


PLANNER = Planner(QUALITY, clock=time.perf_counter)  # compiled once for all tests


FULL_RATE = PROFILE.plant_model().capacity / float(
    np.mean(np.array(PROFILE.tokens)[:, 0, 0])
)  # requests/s of full thoughts


class AtOnce:
    """A solver that solves while it is asked."""

    def __init__(self, solve: Callable[[SolveRequest], Plan] = PLANNER) -> None:
        self._solve = solve
        self._answer: Plan | Exception | None = None
        self.situations: list[SolveRequest] = []

    def ask(self, situation: SolveRequest) -> None:
        self.situations.append(situation)
        try:
            self._answer = self._solve(situation)
        except Exception as error:
            self._answer = error

    def answer(self) -> Plan | Exception | None:
        answer, self._answer = self._answer, None
        return answer


class Driven:
    """A controller, and the traffic that it sees."""

    def __init__(
        self, solver: Solver | None = None, file: Path | None = None, profile: Profile = PROFILE, **options: Any
    ) -> None:
        self.controller = Controller(
            profile, settings=SettingsFile(file, len(CLASSES)), solver=solver or AtOnce(), **options
        )
        self.rng = np.random.default_rng(0)
        self.now = 1000.0

    @property
    def status(self) -> ControllerStatus:
        return self.controller.status

    def tick(self, in_system: int, seconds: float = 0.5) -> None:
        self.now += seconds
        self.controller.tick(self.now, in_system)
        self.check()

    def run(self, seconds: float, *, rate: float, in_system: int, classes: tuple[str, ...] = CLASSES) -> None:
        for _ in range(round(seconds / 0.5)):
            for _ in range(int(self.rng.poisson(rate * 0.5))):
                name = str(self.rng.choice(classes))
                self.controller.arrived(name)
                self.controller.finished(name, int(self.rng.integers(50, 400)))
            if in_system:
                batch = min(in_system, 16)
                self.controller.stepped(batch, 200.0, 0.004 + 3.4e-4 * batch)
            self.tick(in_system)

    def check(self) -> None:
        for name in (*CLASSES, None):
            limits = self.controller.limits(name)
            curve = None if limits.give_up is None else limits.give_up.curve
            point = OperatingPoint(
                threshold=limits.threshold,
                budget=limits.budget,
                give_up=curve,
                skip=limits.skip,
                price=None if limits.index is None else limits.index.price,
                race=limits.race,
            )
            assert point in self.controller.certified
        assert math.isfinite(self.status.estimate.rate)
