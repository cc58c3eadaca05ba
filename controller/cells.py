"""How many KV cells the engine has, and how many its sequences hold: what the controller sees of its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.load import Load
from controller.planning.room import Memory, cells_of
from models.profile.plant import Plant
from models.profile.tables import OperatingTables

RECENT = 0.02  # weight of the last step in the mean of what a sequence holds


class CellGauge:
    """Sees what the engine holds before each step."""

    def __init__(self) -> None:
        self._cells = 0  # 0: nothing was seen yet
        self._growing = False
        self._extent: float | None = None  # a recent mean; None: no sequence was seen yet

    def seen(self, cells: int, of: int, sequences: int, *, growing: bool) -> None:
        """Takes what `sequences` hold of all cells; `growing`: whether they take cells as they grow."""
        self._cells, self._growing = of, growing
        if sequences and cells > 0:
            now = cells / sequences
            self._extent = now if self._extent is None else self._extent + RECENT * (now - self._extent)

    @property
    def memory(self) -> Memory | None:
        """The engine's memory; None: it is not known yet."""
        if not self._cells or (self._extent is None and not self._growing):
            return None
        return Memory(cells=self._cells, extent=None if self._growing else self._extent)

    def within(self, plant: Plant, tables: OperatingTables, load: Load, points: Sequence[int]) -> Plant:
        """Returns the plant with the batch that there is memory for, where each class has one point."""
        memory = self.memory
        if memory is None:
            return plant
        return replace(plant, max_batch=memory.batch(plant.max_batch, memory.extent or cells_of(tables, load, points)))
