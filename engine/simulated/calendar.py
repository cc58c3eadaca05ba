"""When a simulated engine's sequences are to be looked at."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from engine.base import SequenceId


class Calendar:
    """Holds for each sequence the pass after which it is due; it may be changed at any time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, SequenceId, int]] = []  # pass, sequence, stamp
        self._stamps: dict[SequenceId, int] = {}  # of the entry that holds; others of the sequence are stale
        self._stamp = 0

    def enter(self, sequence: SequenceId, due: int) -> None:
        """Make it due after this pass, and no other."""
        self._stamp += 1
        self._stamps[sequence] = self._stamp
        heapq.heappush(self._heap, (due, sequence, self._stamp))

    def forget(self, sequence: SequenceId) -> None:
        """It is due no more."""
        self._stamps.pop(sequence, None)

    def next(self) -> int:
        """The pass after which somebody is due next. Raises IndexError where nobody is."""
        while self._stamps.get(self._heap[0][1]) != self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][0]

    def due(self, passed: int) -> Iterator[SequenceId]:
        """Those that are due after so many passes, in order of pass and id; they are forgotten."""
        while self._heap and self._heap[0][0] <= passed:
            _, sequence, stamp = heapq.heappop(self._heap)
            if self._stamps.get(sequence) == stamp:
                del self._stamps[sequence]
                yield sequence
