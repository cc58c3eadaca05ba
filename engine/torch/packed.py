"""A packed forward pass: the rows of all sequences end to end, without padding, and the model that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.torch.arena import KVArena


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The dimensions of a model that its cache and its callers need."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int  # the longest sequence the model was made for, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The rows of one sequence in a packed batch, and what they may see."""

    rows: slice
    cache: Sequence[tuple[torch.Tensor, torch.Tensor]]  # per layer: keys, values (1, kv_heads, cells, head_dim)
    mask: torch.Tensor | None  # additive (rows · heads / kv_heads, cells); None: every row sees every cell


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One step's rows. All tensors are int64; there are T rows, of which R give logits."""

    tokens: torch.Tensor  # (T,)
    positions: torch.Tensor  # (T,) logical, for the rotary embedding
    cells: torch.Tensor  # (T,) where each row's keys and values are written
    segments: Sequence[Segment]
    logit_rows: torch.Tensor  # (R,)
    kv_heads: int


class PackedModel(Protocol):
    """A causal language model whose forward pass takes packed batches and keeps its cache in an arena."""

    @property
    def shape(self) -> ModelShape: ...

    def forward(self, batch: PackedBatch, arena: KVArena) -> torch.Tensor:
        """Logits (R, vocabulary) float32; writes the keys and values of all rows into `arena` first, layer by layer."""


@torch.inference_mode()
def prompt_logits(model: PackedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Returns the logits (T, vocabulary) of a prompt (T,) in one pass, on a cache of its own."""
    shape, rows = model.shape, torch.arange(len(tokens))
    arena = KVArena(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, cells=len(tokens))
    mask = torch.where(rows[None] > rows[:, None], -torch.inf, 0.0)
    segment = Segment(
        rows=slice(0, len(tokens)),
        cache=arena.read(slice(0, len(tokens))),
        mask=mask.repeat_interleave(shape.heads // shape.kv_heads, dim=0),
    )
    batch = PackedBatch(
        tokens=tokens, positions=rows, cells=rows, segments=(segment,), logit_rows=rows, kv_heads=shape.kv_heads
    )
    return model.forward(batch, arena)
