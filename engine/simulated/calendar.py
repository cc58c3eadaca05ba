"""The passes after which a simulated engine must look at its sequences and report their tokens."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from engine.base import SequenceId


class Calendar:
    """Holds for each sequence the pass after which the sequence is due; entries can be changed at any time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, SequenceId, int]] = []  # pass, sequence, stamp
        self._stamps: dict[SequenceId, int] = {}  # of the valid entry; the sequence's other entries are stale
        self._stamp = 0

    def enter(self, sequence: SequenceId, due: int) -> None:
        """Make the sequence due after pass `due`, and after no other pass."""
        self._stamp += 1
        self._stamps[sequence] = self._stamp
        heapq.heappush(self._heap, (due, sequence, self._stamp))

    def forget(self, sequence: SequenceId) -> None:
        """Remove the sequence's entry, if there is one."""
        self._stamps.pop(sequence, None)

    def next(self) -> int:
        """The next pass after which a sequence is due. Raises IndexError if no sequence is."""
        while self._stamps.get(self._heap[0][1]) != self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][0]

    def due(self, passed: int) -> Iterator[SequenceId]:
        """Yields the sequences due after pass `passed` or before, by pass, then id, and removes their entries."""
        while self._heap and self._heap[0][0] <= passed:
            _, sequence, stamp = heapq.heappop(self._heap)
            if self._stamps.get(sequence) == stamp:
                del self._stamps[sequence]
                yield sequence
