"""Tells the loop's observer, if it has one, of arrivals, ends and times, and what a step took that only decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from controller.policy import LoadObserver, MemoryObserver
from controller.serving.active import ActiveRequest
from engine.base import Engine, Event, Tokens

log = logging.getLogger(__name__)


class StepReport:
    """What the observer is told, the last step of the engine included."""

    def __init__(self, observer: LoadObserver | None, engine: Engine) -> None:
        """`observer` None: nobody is told anything."""
        self._observer = observer
        self._engine = engine
        self._planner = observer if isinstance(observer, MemoryObserver) else None  # None: nobody plans memory
        self._decoded: tuple[float, int, float] | None = None  # start in s, batch, mean context; None: nothing to tell

    @property
    def observed(self) -> bool:
        """Whether there is an observer."""
        return self._observer is not None

    def arrived(self, difficulty: str | None, replies: int = 1) -> None:
        """A request for so many replies has come."""
        if self._observer is not None:
            for _ in range(replies):
                self._observer.arrived(difficulty)

    def finished(self, active: ActiveRequest) -> None:
        """A request has ended whose rows tell what the policy's limits take. It has left already, so nothing raises."""
        if self._observer is not None:
            try:
                self._observer.finished(active.request.difficulty, active.rows)
            except Exception:
                log.exception("the observer of the load has failed on the end of request %d", active.id)

    def idle(self, now: float, in_system: int) -> None:
        """Tells that time has passed."""
        if self._observer is not None:
            self._observer.tick(now, in_system)

    def begin(self, now: float, in_system: int) -> None:
        """Reports the last step and the tick. A step lasts until the next begins, the loop's own work included."""
        if self._observer is None:
            return
        if self._decoded is not None:
            began, batch, context = self._decoded
            self._observer.stepped(batch, context, now - began)
        if self._planner is not None and self._planner.plans_memory:
            load, growing = self._engine.load(), self._engine.capabilities.growing
            self._planner.held(load.cells_reserved, load.cells_total, load.running + load.paused, growing=growing)
        self._observer.tick(now, in_system)

    def end(self, events: Sequence[Event], running: Iterable[ActiveRequest], now: float) -> None:
        """Takes note of a step that began at `now`: it counts if each sequence decoded one token and no more."""
        self._decoded = None
        if self._observer is None:
            return
        batch, context = 0, 0
        for active in running:
            if active.started_s is not None and not active.paused:
                if active.probe is not None or not active.tokens:
                    return  # the sequence's first token comes in the same step as its last chunk of prefill
                batch += 1
                context += active.prompt_tokens + active.tokens
        if batch and len(events) == batch and all(map(_is_one_token, events)):
            self._decoded = now, batch, context / batch

    def forget(self) -> None:
        """Drops the last step: nothing is decoded until the next request comes."""
        self._decoded = None


def _is_one_token(event: Event) -> bool:
    return type(event) is Tokens and len(event.tokens) == 1 and not event.forced
