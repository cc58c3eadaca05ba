"""The queue and the engine's load as other threads see them: worked out at most ten times a second."""

from __future__ import annotations

import math
from dataclasses import replace

from controller.serving.active import ActiveRequest
from controller.serving.admission import Admission, QueueState
from controller.serving.engine_requests import EngineRequests
from engine.base import Engine, EngineLoad

SHOW_S = 0.1  # between two updates while the queue changes
REFRESH_S = 1.0  # between two updates while it does not


class QueueDisplay:
    """Holds the last update. Its properties may be read from any thread."""

    def __init__(self, engine: Engine, admission: Admission[ActiveRequest]) -> None:
        self._engine = engine
        self._admission = admission
        self._queue = QueueState()
        self._load = engine.load()
        self._changed = False
        self._updated_s = -math.inf

    @property
    def queue(self) -> QueueState:
        """The queue's status at the last update."""
        return self._queue

    @property
    def load(self) -> EngineLoad:
        """The engine's load at the last update."""
        return self._load

    def changed(self) -> None:
        """Has the next call of `update` look sooner: a request has come, begun, or gone."""
        self._changed = True

    def update(self, now: float, in_engine: EngineRequests, steps: int) -> None:
        """Updates both if it is time. `steps`: those that the engine has made."""
        age_s = now - self._updated_s
        moved = self._changed and (age_s >= SHOW_S or not len(self._admission))
        if moved or age_s >= REFRESH_S:
            self._updated_s, self._changed = now, False
            ages, held_up = in_engine.ages(steps)
            self._queue = self._admission.state(ages, lambda active: active.request.name, held_up, in_engine.paused)
            self._load = self._engine.load()

    def clear(self) -> None:
        """Shows at once that no request waits or runs."""
        self._queue = replace(self._queue, running=0, turns=(), drain_s=0.0)
        self._load = self._engine.load()
