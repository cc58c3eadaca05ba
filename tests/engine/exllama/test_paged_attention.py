"""Paged attention in torch, held against attention over each row's own keys and values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import profile

from engine.exllama import paged_attention
from engine.exllama.paged_attention import fastest, flash_attention, gathered

CPU = torch.device("cpu")


@pytest.fixture
def functions() -> Any:
    """The package as ExLlamaV2 would import it."""
    with flash_attention(CPU) as packaged:
        assert not packaged
        import flash_attn

        return flash_attn


def naive(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of q (n, heads, d) at the end of k and v (m, kv heads, d), head by head."""
    out = torch.empty_like(q)
    for head in range(q.shape[1]):
        kv = head * k.shape[1] // q.shape[1]
        for i in range(len(q)):
            end = len(k) - len(q) + i + 1
            weights = (k[:end, kv] @ q[i, head] * scale).softmax(dim=0)
            out[i, head] = weights @ v[:end, kv]
    return out


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("given", [True, False])
def test_paged_attention_stores_what_is_new_and_reads_each_rows_pages(
    functions: Any, heads: int, kv_heads: int, new: int, given: bool
) -> None:
    """Pages of 8 in no order, rows of 0, 7, 8 and 21 tokens; `given` keys are stored, others lie there already."""
    rng = torch.Generator().manual_seed(new)
    starts, scale = [0, 7, 8, 21], 0.3
    table = torch.tensor([[5, 0, 0, 0], [9, 1, 0, 0], [2, 7, 0, 0], [3, 8, 4, 6]], dtype=torch.int32)
    keys, values = (torch.randn(12, 8, kv_heads, 16, generator=rng) for _ in range(2))
    q = torch.randn(4, new, heads, 16, generator=rng)
    k, v = (torch.randn(4, new, kv_heads, 16, generator=rng) for _ in range(2))
    cells = [[(int(table[row, i // 8]), i % 8) for i in range(start + new)] for row, start in enumerate(starts)]
    seqlens = torch.tensor(starts, dtype=torch.int32)
    untouched = keys.clone()
    if given:
        out = functions.flash_attn_with_kvcache(
            q=q, k=k, v=v, k_cache=keys, v_cache=values, cache_seqlens=seqlens, block_table=table, causal=True,
            softmax_scale=scale,
        )  # fmt: skip
        for row, start in enumerate(starts):
            for i in range(new):
                assert torch.equal(keys[cells[row][start + i]], k[row, i])
                untouched[cells[row][start + i]] = k[row, i]
        assert torch.equal(keys, untouched)
    else:
        out = functions.flash_attn_with_kvcache(
            q=q, k=None, v=None, k_cache=keys, v_cache=values, cache_seqlens=seqlens + new, block_table=table,
            causal=True, softmax_scale=scale,
        )  # fmt: skip
    for row, places in enumerate(cells):
        seen_k, seen_v = (torch.stack([cache[place] for place in places]) for cache in (keys, values))
        torch.testing.assert_close(out[row], naive(q[row], seen_k, seen_v, scale), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("new", [1, 5])
def test_what_it_gives_can_be_viewed_whichever_kernel_serves(functions: Any, new: int) -> None:
    """On a GPU it is not the kernel that this CPU prefers; ExLlamaV2 takes a view of the output."""
    q, keys, values = torch.randn(2, new, 28, 16), torch.randn(3, 8, 4, 16), torch.randn(3, 8, 4, 16)
    table, ends = torch.tensor([[0], [2]], dtype=torch.int32), torch.tensor([7, 5], dtype=torch.int32)
    with sdpa_kernel(SDPBackend.MATH):
        out = gathered(q, keys, values, ends, table, None)
    torch.testing.assert_close(out, gathered(q, keys, values, ends, table, None), atol=1e-5, rtol=1e-5)
    assert out.view(2, new, 28 * 16).shape == (2, new, 28 * 16)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_pages_are_gathered_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """All rows at once, at the length of the longest, would take more memory than is kept free."""
    keys, values = torch.randn(12, 8, 2, 16), torch.randn(12, 8, 2, 16)
    q, table = torch.randn(5, 3, 4, 16), torch.randperm(12)[:10].int().view(5, 2)
    ends = torch.tensor([3, 8, 9, 15, 16], dtype=torch.int32)
    whole = gathered(q, keys, values, ends, table, None)
    monkeypatch.setattr(paged_attention, "GATHERED", rows * 2 * 2 * keys[0].nbytes)
    with profile(record_shapes=True) as seen:
        torch.testing.assert_close(gathered(q, keys, values, ends, table, None), whole)
    calls = [one for one in seen.events() if one.name == "aten::scaled_dot_product_attention"]
    taken = [one.input_shapes[0][0] for one in calls]
    assert max(taken) == rows
    assert sum(taken) == 5


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_what_lies_in_cells_that_a_row_does_not_use_changes_nothing(damage: float) -> None:
    """A sequence that overflowed leaves it there; tables of short rows are filled up with page 0."""
    keys, values = torch.randn(4, 8, 2, 16), torch.randn(4, 8, 2, 16)
    q, table = torch.randn(2, 3, 4, 16), torch.tensor([[2, 0, 0], [1, 3, 0]], dtype=torch.int32)
    ends = torch.tensor([5, 11], dtype=torch.int32)
    whole = gathered(q, keys, values, ends, table, None)
    for cells in (keys, values):
        cells[0] = cells[2, 5:] = cells[3, 3:] = damage
    torch.testing.assert_close(gathered(q, keys, values, ends, table, None), whole)


def test_a_folder_of_flash_attns_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4 alone leaves one, without what ExLlamaV2 calls."""
    (tmp_path / "flash_attn" / "cute").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    with flash_attention(CPU) as packaged:
        assert not packaged
        import flash_attn

        assert flash_attn.__version__ == "2.5.7"


@pytest.mark.parametrize("causal", [True, False])
def test_attention_without_pages(functions: Any, causal: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, length, heads, 16, generator=rng) for length, heads in ((3, 4), (9, 2), (9, 2)))
    out = functions.flash_attn_func(q, k, v, causal=causal, softmax_scale=0.3)
    for row in range(2):
        if causal:
            expected = naive(q[row], k[row], v[row], 0.3)
        else:  # each query alone at the end sees everything
            expected = torch.cat([naive(one[None], k[row], v[row], 0.3) for one in q[row]])
        torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-5)


def test_cudnn_which_plans_for_each_new_shape_does_no_attention(functions: Any) -> None:
    assert functions is not None
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_the_borrowed_names_are_given_back(functions: Any) -> None:
    assert functions.__version__ == "2.5.7"
    assert "flash_attn" not in sys.modules
    assert "flash_attn_2_cuda" not in sys.modules


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA the faster way may serve")
def test_without_cuda_pages_are_gathered() -> None:
    assert fastest(CPU) is gathered
