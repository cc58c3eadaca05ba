"""A simulated engine whose sequences take cells as they grow, so that more may start than could all end.

Where cells run out, the sequence that began last gives its own back and waits, before all that have not begun; when it
goes on, its tokens are prefilled again.
"""

from __future__ import annotations

from dataclasses import replace

from engine.base import Capabilities, Event, SequenceId
from engine.simulated.engine import SimulatedEngine
from engine.simulated.sequence import SimulatedSequence

SPARE = 0.02  # of the cells, that must be free for a sequence to begin or to go on


class GrowingEngine(SimulatedEngine):
    """Implements `engine.base.Engine`. A probe's few cells are not counted."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, growing=True)

    def _cells(self) -> tuple[int, int]:
        return self._taken, self._machine.cells

    @property
    def _taken(self) -> int:
        return self._cached + sum(len(state.request.prompt) for state in self._prefilling.values())

    def _fits(self, cells: int) -> bool:
        return not self._running or self._taken + cells <= (1.0 - SPARE) * self._machine.cells

    def _go_on(self, max_batch: int) -> None:
        while self._resuming and len(self._running) < max_batch:
            sequence = next(iter(self._resuming))
            state = self._paused[sequence]
            assert state.kept is not None
            tokens = len(state.request.prompt) + state.kept
            if not self._fits(tokens):
                return
            del self._resuming[sequence]
            self._running[sequence] = self._paused.pop(sequence)
            self._take_up(state)
            self._extra_s += self._machine.prefill_s * tokens

    def _begins(self, state: SimulatedSequence) -> bool:
        return not self._resuming and self._fits(len(state.request.prompt))

    def _admit(self, events: list[Event]) -> None:
        self._evict({event.sequence for event in events})
        super()._admit(events)

    def _evict(self, told: set[SequenceId]) -> None:
        """Makes room for a pass; who has been told of in this step, or has a running probe, stays."""
        for sequence in sorted(self._running, reverse=True):
            if self._taken + len(self._running) <= self._machine.cells or len(self._running) < 2:
                return
            state = self._running[sequence]
            if sequence in told or not self._can_pause(state):
                continue
            if state.probe is None or self._has_answer(state):
                self.pause(sequence)
                self.resume(sequence)

    def _most_passes(self) -> float:
        return max(1, (self._machine.cells - self._taken) // max(1, len(self._running)))
