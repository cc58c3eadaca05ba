"""A packed forward pass: the rows of all sequences end to end, without padding, and the model that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from engine.arena import KVArena


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The dimensions of a model that its cache and its callers need."""

    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int  # the longest sequence it was made for, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The rows of one sequence in a packed batch, and the contiguous cells that they may see.

    `mask` is additive, (rows, cells), None where every row sees every cell.
    """

    rows: slice
    cells: slice
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One step's rows. All tensors are int64; T rows in all, of which R are to give logits."""

    tokens: torch.Tensor  # (T,)
    positions: torch.Tensor  # (T,) logical, for the rotary embedding
    cells: torch.Tensor  # (T,) where each row's keys and values are written
    segments: tuple[Segment, ...]
    logit_rows: torch.Tensor  # (R,)


class PackedModel(Protocol):
    """A causal language model whose forward pass takes packed batches and keeps its cache in an arena."""

    @property
    def shape(self) -> ModelShape: ...

    def forward(self, batch: PackedBatch, arena: KVArena) -> torch.Tensor:
        """Logits (R, vocabulary) float32; writes the keys and values of all rows into `arena`."""
