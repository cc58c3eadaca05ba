"""Tells the loop's observer what a step of the engine took, if the step only decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.policy import LoadObserver, MemoryObserver
from controller.serving.active import ActiveRequest
from engine.base import Engine, Event, Tokens


class StepReport:
    """The last step of the engine, as the observer is to hear of it."""

    def __init__(self, observer: LoadObserver, engine: Engine) -> None:
        self._observer = observer
        self._engine = engine
        self._planner = observer if isinstance(observer, MemoryObserver) else None  # None: nobody plans memory
        self._decoded: tuple[float, int, float] | None = None  # start in s, batch, mean context; None: nothing to tell

    def begin(self, now: float, in_system: int) -> None:
        """Reports the last step and the tick. A step lasts until the next begins, the loop's own work included."""
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
