"""Attention of a packed batch over the arena: one fused call per sequence, whatever its rows are."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.torch.packed import PackedBatch


def attend(query: torch.Tensor, batch: PackedBatch, layer: int, scale: float) -> torch.Tensor:
    """The attention output (T, heads, head_dim) of queries (T, heads, head_dim).

    The heads of a group share their keys, so they are laid out as extra query rows of one key head: no key is repeated.
    """
    rows, heads, width = query.shape
    groups = heads // batch.kv_heads
    by_head = query.view(rows, batch.kv_heads, groups, width).transpose(0, 1).contiguous()
    output = torch.empty_like(by_head)
    for segment in batch.segments:
        keys, values = segment.cache[layer]
        packed = by_head[:, segment.rows].reshape(1, batch.kv_heads, -1, width)
        found = scaled_dot_product_attention(packed, keys, values, attn_mask=segment.mask, scale=scale)
        output[:, segment.rows] = found.view(batch.kv_heads, -1, groups, width)
    return output.transpose(0, 1).reshape(rows, heads, width)
