"""A running sequence and its probe, and where their tokens lie in the sequence's extent.

    cells   0 … fork_at … hole_at            hole_at + room …
            └─ the sequence ────┘└ the probe ┘└ the sequence, decoding on beside it ┘

The probe writes behind what the sequence has, into a hole that the sequence's later tokens step over. When the probe
lapses, those few later tokens are moved down over the hole; when it is adopted, its tokens are already in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.base import ProbeId, ProbeSpec
from engine.decoding import ComputedSequence
from engine.probe import ComputedProbe
from engine.torch.arena import Extent, KVArena


@dataclass(slots=True, kw_only=True, eq=False)
class ProbeState(ComputedProbe):
    """A probe in the hole of its sequence."""

    hole_at: int  # number of the sequence's tokens when it was forked


@dataclass(slots=True, kw_only=True, eq=False)
class SequenceState(ComputedSequence[ProbeState]):
    """An admitted sequence: its tokens, of which the first `computed` have keys and values in the arena."""

    extent: Extent

    def cell(self, position: int) -> int:
        """Where in the extent the token at a logical position lies."""
        if self.probe is not None and position >= self.probe.hole_at:
            position += self.probe.spec.room
        return position

    def fork(self, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        """Open the hole for a probe that continues the first `fork_at` tokens."""
        self.probe = ProbeState(id=probe, spec=spec, fork_at=fork_at, hole_at=len(self.tokens), path=list(spec.suffix))

    def lapse(self, arena: KVArena) -> None:
        """Close the probe's hole, if there is one."""
        if self.probe is None:
            return
        beyond = self.computed - self.probe.hole_at
        if beyond > 0:
            target = self.extent.start + self.probe.hole_at
            arena.move(source=target + self.probe.spec.room, target=target, count=beyond)
        self.probe = None

    def adopt(self, arena: KVArena, keep: int, then: Sequence[int]) -> None:
        """Continue from the first `keep` tokens of the probe's path, and `then`, instead of what followed the fork."""
        probe = self.probe
        assert probe is not None
        held = min(keep, probe.computed)
        if probe.fork_at < probe.hole_at:
            start = self.extent.start
            arena.move(source=start + probe.hole_at, target=start + probe.fork_at, count=held)
        self.take_over(probe, keep, then)
        self.computed = min(probe.fork_at + held, len(self.tokens) - 1)  # one token is left to give the next logits
        self.probe = None

    def mask(self, rows: int, probe_rows: int) -> npt.NDArray[np.float32] | None:
        """The additive mask (rows + probe_rows, cells) of the next rows; None: every row sees all cells up to the end.

        Hidden from the sequence's rows: later cells and the hole. Hidden from the probe's rows: later cells of the
        hole, and the sequence's cells behind the fork.
        """
        probe = self.probe
        if rows == 1 and probe is None:
            return None
        positions = np.arange(self.computed, self.computed + rows)
        if probe is None:
            cells = np.arange(self.computed + rows)
            return np.where(cells[None] > positions[:, None], -np.inf, 0.0).astype(np.float32)
        room = probe.spec.room
        end = self.cell(self.computed + rows - 1) + 1
        cells = np.arange(max(end, probe.hole_at + probe.computed + probe_rows))
        hole = (cells >= probe.hole_at) & (cells < probe.hole_at + room)
        logical = np.where(cells >= probe.hole_at + room, cells - room, cells)
        own = hole[None] | (logical[None] > positions[:, None])
        last = probe.hole_at + probe.computed + np.arange(probe_rows)
        behind = (cells >= probe.fork_at) & (cells < probe.hole_at)
        asked = behind[None] | (cells[None] > last[:, None])
        return np.where(np.concatenate((own, asked)), -np.inf, 0.0).astype(np.float32)
