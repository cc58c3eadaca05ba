"""The KV cache: one arena of cells, in which every sequence owns one contiguous extent.

A cell holds one token's keys and values in every layer. Attention then reads plain slices: on a CPU, gathering pages
costs several times as much. Fragmentation is mended by sliding extents together when a reservation would not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(slots=True, eq=False)
class Extent:
    """The cells [start, start + size) of one owner. `start` changes when the arena is compacted."""

    start: int
    size: int
    used: int = 0  # cells from the start that hold something worth moving


class KVArena:
    """Keys and values of all sequences, (layers, 2 · kv_heads, cells, head_dim): first the key heads, then the values.

    It starts zeroed and only ever holds finite numbers, because masked cells still meet a weight of 0: 0 · NaN is NaN.
    """

    def __init__(
        self, *, layers: int, kv_heads: int, head_dim: int, cells: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self._heads = kv_heads
        self._data = torch.zeros(layers, 2 * kv_heads, cells, head_dim, dtype=dtype)
        self._extents: list[Extent] = []  # by start

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return self._data.shape[2]

    @property
    def reserved(self) -> int:
        """How many cells are reserved."""
        return sum(extent.size for extent in self._extents)

    def reserve(self, size: int) -> Extent | None:
        """An extent of `size` cells, or None while the arena is too full."""
        if size > self.cells - self.reserved:
            return None
        extent = self._first_fit(size)
        if extent is None:
            self._compact()
            extent = self._first_fit(size)
        return extent

    def release(self, extent: Extent) -> None:
        """Free an extent."""
        self._extents.remove(extent)

    def write(self, layer: int, cells: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put keys and values, (kv_heads, T, head_dim) each, into the T `cells` of a layer."""
        data = self._data[layer]
        data[: self._heads].index_copy_(1, cells, keys)
        data[self._heads :].index_copy_(1, cells, values)

    def read(self, cells: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of a run of cells: per layer two views, (1, kv_heads, cells, head_dim) each."""
        data = self._data[:, None, :, cells]
        return list(zip(data[:, :, : self._heads].unbind(), data[:, :, self._heads :].unbind(), strict=True))

    def move(self, *, source: int, target: int, count: int) -> None:
        """Copy `count` cells from `source` to `target` on; the two runs may overlap."""
        self._data[:, :, target : target + count] = self._data[:, :, source : source + count].clone()

    def _first_fit(self, size: int) -> Extent | None:
        start = 0
        for index, extent in enumerate([*self._extents, Extent(self.cells, 0)]):
            if extent.start - start >= size:
                found = Extent(start, size)
                self._extents.insert(index, found)
                return found
            start = extent.start + extent.size
        return None

    def _compact(self) -> None:
        start = 0
        for extent in self._extents:
            if extent.start != start:
                self.move(source=extent.start, target=start, count=extent.used)
                extent.start = start
            start += extent.size
