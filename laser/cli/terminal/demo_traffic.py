"""The traffic of `laser demo`: calm, a burst, calm again; and the measurements made meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from controller.planning.objective import ObjectiveSettings
from controller.policies.load_aware import LoadAware
from controller.settings import ControllerSettings
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from experiments.request_record import RequestRecord
from experiments.trials.live import drive
from experiments.trials.trial import QUESTION_SEEDS, Requests
from experiments.workloads import Step
from laser.cli.terminal.feed import Look
from laser.cli.terminal.words import many
from laser.server.config import ServeConfig
from models.files.strict_yaml import written
from models.profile.savings import Gained

SHARE = 0.3  # calm rate over the capacity for full thoughts
FACTOR = 5.0  # burst rate over calm rate
MAX_TOKENS = 541  # of a reply: 512 of a thought, as in the calibration
QUESTIONS = 100  # drawn from each bundled benchmark
CONTROLLER = ControllerSettings(objective=ObjectiveSettings(slo_s=(2.0, 3.0, 4.0)))  # s, by class


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the demonstration: from `begin_s` to `end_s`, s since the traffic started."""

    name: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTraffic:
    """Which requests are sent, and when: a third of the time calm, a third burst, a third calm."""

    rate: float  # requests/s, calm
    total_s: float
    seed: int

    @property
    def phases(self) -> tuple[Phase, ...]:
        third = self.total_s / 3.0
        named = enumerate(("calm before", "burst", "calm after"))
        return tuple(Phase(name=name, begin_s=place * third, end_s=(place + 1) * third) for place, name in named)

    def phase(self, at_s: float) -> Phase | None:
        """Returns the phase at `at_s`; None: all phases have passed."""
        return next((phase for phase in self.phases if at_s < phase.end_s), None)

    def draw(self) -> tuple[list[Question], Requests]:
        """Returns the questions and the requests that ask them; the same seed gives the same ones."""
        rng = np.random.default_rng(self.seed)
        burst = self.phases[1]
        step = Step(rate=self.rate, factor=FACTOR, at_s=burst.begin_s, until_s=burst.end_s)
        times = step.arrivals(self.total_s, rng)
        questions = bundled_questions(QUESTIONS, QUESTION_SEEDS + self.seed)
        return questions, Requests(times=times, questions=rng.integers(len(questions), size=len(times)))


def server_config(directory: Path, port: int) -> Path:
    """Writes the demonstration's file for `laser serve --config`, and controller.yaml beside it; returns its path."""
    controller = directory / "controller.yaml"
    controller.write_text(written(CONTROLLER), encoding="utf-8")
    config = directory / "serve.yaml"
    said = ServeConfig(policy=LoadAware(), controller=controller, port=port)
    config.write_text(written(said), encoding="utf-8")
    return config


class Demo:
    """Sends the traffic to a server and records what is measured."""

    def __init__(self, traffic: DemoTraffic, clock: Callable[[], float] = time.monotonic) -> None:
        self.traffic = traffic
        self.records: list[RequestRecord] = []
        self.thresholds: list[tuple[float, dict[str, float | None]]] = []  # s; by class, None: not probed
        self.gained: Gained | None = None  # what the server has saved so far; None: nothing is known yet
        self.asked = 0  # number of requests drawn
        self._clock = clock
        self._began_s: float | None = None

    def slower(self, share: float) -> None:
        """Has fewer requests come, before any has: this machine has only a `share` of the expected speed."""
        self.traffic = replace(self.traffic, rate=self.traffic.rate * share)

    @property
    def begun(self) -> bool:
        """Whether the warm-up request has been answered and the traffic has started."""
        return self._began_s is not None

    @property
    def at_s(self) -> float:
        """Seconds since the traffic started; 0 before."""
        return 0.0 if self._began_s is None else self._clock() - self._began_s

    @property
    def phase(self) -> Phase | None:
        """The current phase; None: all phases have passed, so every request has been sent."""
        return self.traffic.phase(self.at_s)

    @property
    def note(self) -> str:
        """The demonstration's progress, in a few words."""
        if self._began_s is None:
            return "demo: warming up"
        if (phase := self.phase) is None:
            return f"demo: {many(self.asked - len(self.records), 'reply', 'replies')} still to come"
        return f"demo: {phase.name}, {self.at_s:.0f} of {self.traffic.total_s:g} s"

    async def drive(self, url: str) -> None:
        """Sends all requests and waits for the last reply. Raises ServerError if the warm-up request fails."""
        questions, requests = self.traffic.draw()
        self.asked = len(requests)
        await drive(url, questions, requests, MAX_TOKENS, self.records.append, begin=self._begin)

    def saw(self, look: Look) -> None:
        """Records what was saved, and the thresholds in force from the start of the traffic to its end."""
        self.gained = look.status.gained
        if self._began_s is not None and self.at_s <= self.traffic.total_s:
            limits = look.status.controller.limits
            self.thresholds.append((self.at_s, {name: each.threshold for name, each in limits.items()}))

    def measured(self, phase: Phase) -> tuple[list[RequestRecord], dict[str, list[float | None]]]:
        """Returns the requests that arrived in `phase`, and the thresholds of each class during `phase`."""
        records = [one for one in self.records if phase.begin_s <= one.at_s < phase.end_s]
        found: dict[str, list[float | None]] = {}
        for at_s, thresholds in self.thresholds:
            if phase.begin_s <= at_s < phase.end_s:
                for name, value in thresholds.items():
                    found.setdefault(name, []).append(value)
        return records, found

    def _begin(self) -> None:
        self._began_s = self._clock()
