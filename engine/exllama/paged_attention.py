"""Paged attention in torch, under flash-attn's names, for ExLlamaV2 where flash-attn is not installed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import product
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

log = logging.getLogger(__name__)

Tensor: TypeAlias = torch.Tensor
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float | None], Tensor]
"""Takes q (b, n, heads, d); keys and values (pages, page, kv heads, d); ends (b,): tokens of each row, its n newest
included; table (b, pages of a row); scale, None: 1/√d. Returns (b, n, heads, d); each token sees all up to itself."""


GATHERED = 1 << 28  # most bytes of keys and values that are copied at once, unless one row has more


def gathered(q: Tensor, keys: Tensor, values: Tensor, ends: Tensor, table: Tensor, scale: float | None) -> Tensor:
    """Attention over pages that are first copied side by side: runs anywhere, but moves every key and value twice.

    Every row is copied at the length of the longest, so rows are taken a few at a time, within GATHERED bytes.
    """
    most = max(1, GATHERED // (2 * table.shape[1] * keys[0].nbytes))
    if len(q) <= most:
        return _gathered(q, keys, values, ends, table, scale)
    parts = [slice(first, first + most) for first in range(0, len(q), most)]
    return torch.cat([_gathered(q[rows], keys, values, ends[rows], table[rows], scale) for rows in parts])


def _gathered(q: Tensor, keys: Tensor, values: Tensor, ends: Tensor, table: Tensor, scale: float | None) -> Tensor:
    newest = q.shape[1]
    k, v = (pages[table].flatten(1, 2) for pages in (keys, values))
    unused = torch.arange(k.shape[1], device=q.device) >= ends[:, None]  # what lies there may be no number
    k.masked_fill_(unused[..., None, None], 0.0)
    v.masked_fill_(unused[..., None, None], 0.0)
    last_seen = ends[:, None] - newest + torch.arange(newest, device=q.device)
    seen = torch.arange(k.shape[1], device=q.device) <= last_seen[..., None]
    return _attended(q, k, v, seen, scale)


def _attended(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, scale: float | None) -> Tensor:
    """Attention of q (b, n, heads, d) over k and v (b, m, kv heads, d).

    A query sees the keys marked in `seen` (b, n, m); None: all. Heads that share a key head are laid out as extra
    queries of it, so that kernels without grouped-query support work too and no key is copied. The result is
    contiguous like flash-attn's, because ExLlamaV2 takes a view of it.
    """
    rows, newest, heads, size = q.shape
    kv_heads = k.shape[2]
    groups = heads // kv_heads
    grouped = q.reshape(rows, newest, kv_heads, groups, size).permute(0, 2, 3, 1, 4)
    mask = None if seen is None else seen[:, None].repeat(1, 1, groups, 1)
    out = scaled_dot_product_attention(grouped.flatten(2, 3), k.transpose(1, 2), v.transpose(1, 2), mask, scale=scale)
    by_head: Tensor = out.reshape(rows, heads, newest, size)
    return by_head.transpose(1, 2).contiguous()


def in_place(q: Tensor, keys: Tensor, values: Tensor, ends: Tensor, table: Tensor, scale: float | None) -> Tensor:
    """Attention by torch's own flash kernel, which reads pages in place; needs CUDA and torch 2.13 or newer."""
    from torch.nn.attention.varlen import varlen_attn

    rows, newest = q.shape[:2]
    starts = torch.arange(0, (rows + 1) * newest, newest, dtype=torch.int32, device=q.device)
    out = varlen_attn(
        q.flatten(0, 1),
        keys,
        values,
        starts,
        None,
        newest,
        table.shape[1] * keys.shape[1],
        scale=scale,
        window_size=(-1, 0) if newest > 1 else (-1, -1),  # one query sees all: without a window its group is packed
        enable_gqa=q.shape[2] != keys.shape[2],
        seqused_k=ends,
        block_table=table,
    )
    return torch.as_tensor(out).view(rows, newest, *q.shape[2:])


def fastest(device: torch.device) -> Attend:
    """Returns `in_place` if it runs on `device` and agrees with `gathered`, else `gathered`."""
    rng = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng).to(device, torch.half)

    ends = torch.tensor([300, 5], dtype=torch.int32, device=device)
    table = torch.tensor([[2, 0], [3, 0]], dtype=torch.int32, device=device)
    error = 0.0
    try:
        for newest, size in product((1, 3), (64, 128)):
            q, keys, values = noise(2, newest, 4, size), noise(4, 256, 2, size), noise(4, 256, 2, size)
            one, other = (attend(q, keys, values, ends, table, None) for attend in (in_place, gathered))
            error = max(error, float((one - other).abs().max()))
        if error < 1e-2:
            return in_place
        log.warning("torch's paged attention is off by %.2g here, so pages are gathered, which is slower", error)
    except (ImportError, RuntimeError, TypeError, ValueError) as problem:  # an older torch or GPU, or no GPU
        log.info("torch has no paged attention here (%s), so pages are gathered, which is slower", problem)
    return gathered


@contextmanager
def flash_attention(device: torch.device) -> Iterator[bool]:
    """Makes `flash_attn` importable in the block; yields True for the package, False for this module's functions.

    Without the package it also keeps torch from cuDNN's attention, for good.
    """
    found = find_spec("flash_attn")
    if found is not None and found.origin is not None:  # flash-attn 4 alone leaves a folder of another package's parts
        yield True
        return
    # torch prefers cuDNN's on Hopper and Blackwell; it makes a plan for each new shape, and shapes change at every page
    torch.backends.cuda.enable_cudnn_sdp(False)
    package, extension = ModuleType("flash_attn"), ModuleType("flash_attn_2_cuda")
    package.__dict__.update(_functions(fastest(device)), __version__="2.5.7")  # the first version with paged attention
    sys.modules.update({"flash_attn": package, "flash_attn_2_cuda": extension})
    try:
        yield False
    finally:
        del sys.modules["flash_attn"], sys.modules["flash_attn_2_cuda"]


def _functions(attend: Attend) -> dict[str, Callable[..., Tensor]]:
    """Returns the flash-attn functions that ExLlamaV2 calls, with only the arguments that it passes."""

    def flash_attn_with_kvcache(
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        k: Tensor | None = None,
        v: Tensor | None = None,
        *,
        cache_seqlens: Tensor,
        block_table: Tensor,
        softmax_scale: float | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Store k and v (b, n, kv heads, d; None: nothing) behind each row's `cache_seqlens` tokens, then attend."""
        assert causal
        ends = cache_seqlens
        if k is not None and v is not None:
            page, new = k_cache.shape[1], k.shape[1]
            places = cache_seqlens[:, None] + torch.arange(new, device=q.device)
            pages = block_table.gather(1, places // page)
            k_cache[pages, places % page], v_cache[pages, places % page] = k, v
            ends = cache_seqlens + new
        return attend(q, k_cache, v_cache, ends, block_table, softmax_scale)

    def flash_attn_func(
        q: Tensor, k: Tensor, v: Tensor, softmax_scale: float | None = None, causal: bool = False
    ) -> Tensor:
        """Attention of q (b, n, heads, d), the last n positions of k and v (b, m, kv heads, d)."""
        if not causal:
            return _attended(q, k, v, None, softmax_scale)
        rows, length = k.shape[:2]
        ends = torch.full((rows,), length, device=q.device)
        return gathered(q, k, v, ends, torch.arange(rows, device=q.device)[:, None], softmax_scale)

    def flash_attn_varlen_func(*_: Any, **__: Any) -> Tensor:
        raise NotImplementedError("ragged attention is for images, which are not served")

    return {
        "flash_attn_with_kvcache": flash_attn_with_kvcache,
        "flash_attn_func": flash_attn_func,
        "flash_attn_varlen_func": flash_attn_varlen_func,
    }
