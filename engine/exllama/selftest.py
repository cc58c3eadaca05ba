"""Checks that a freshly loaded ExLlamaV2 model must pass before it serves, since wrong decoding raises no error."""

from __future__ import annotations

from typing import Any

import torch

from engine.base import UnsupportedModelError

TOKENS = 48  # tokens of the test text
AHEAD = 40  # of these decoded in one pass; the rest token by token
SAME = 0.02  # share of the largest logit by which rounding may change a row with equal inputs
ALIKE = 0.9  # least correlation of the same logits computed in two ways, even in a 4-bit cache; others correlate near 0


@torch.inference_mode()
def check_attention(model: Any, cache: Any, page: int) -> None:
    """Raises UnsupportedModelError unless each token sees all tokens before it and none after it.

    Also raises it where the model's numbers overflow half precision, in which ExLlamaV2 computes whatever the files
    hold: comparisons with what is no number would all pass. Overwrites the cache's first three pages, which must not be
    in use.
    """
    vocabulary, half = model.config.vocab_size, TOKENS // 2
    text = torch.arange(7, 7 + 11 * (page + TOKENS), 11)[None] % vocabulary
    other = (text + vocabulary // 2) % vocabulary
    short, other_short = text[:, :TOKENS], other[:, :TOKENS]
    whole = paged_logits(model, cache, page, short, [0], [[0]])[0]
    noise = SAME * float(whole.abs().max())
    mixed = torch.cat((short[:, :half], other_short[:, half:]), dim=1)
    other_end = paged_logits(model, cache, page, mixed, [0], [[0]])[0]
    if float((whole - other_end)[:half].abs().max()) > noise:
        raise UnsupportedModelError("tokens see those that come after them: attention is not causal here")
    mixed = torch.cat((other_short[:, :half], short[:, half:]), dim=1)
    other_start = paged_logits(model, cache, page, mixed, [0], [[0]])[0]
    if float((whole - other_start)[-1].abs().max()) <= noise:
        raise UnsupportedModelError("the last token does not see the first ones: attention is cut short here")

    # As in serving: rows of different lengths, one token per step, one row into a page that does not follow its first.
    expected_short = paged_logits(model, cache, page, other_short, [0], [[0]])[0, AHEAD:]
    paged_logits(model, cache, page, text[:, :page], [0], [[0]])
    expected_long = paged_logits(model, cache, page, text[:, page:], [page], [[0, 1]])[0, : TOKENS - AHEAD]
    paged_logits(model, cache, page, text[:, :page], [0], [[1]])
    paged_logits(model, cache, page, other_short[:, :AHEAD], [0], [[2]])
    stepwise = [
        paged_logits(
            model,
            cache,
            page,
            torch.stack((text[0, page + i : page + i + 1], other_short[0, AHEAD + i : AHEAD + i + 1])),
            [page + i, AHEAD + i],
            [[1, 0], [2, 0]],
        )
        for i in range(TOKENS - AHEAD)
    ]
    alike = _alike(torch.stack((expected_long, expected_short)), torch.cat(stepwise, dim=1))
    if alike < ALIKE:
        raise UnsupportedModelError(
            f"logits of texts decoded token by token correlate by {alike:.2f} with those of one pass over each, "
            f"must be at least {ALIKE}: paged attention is wrong here"
        )


def paged_logits(
    model: Any, cache: Any, page: int, tokens: torch.Tensor, starts: list[int], tables: list[list[int]]
) -> torch.Tensor:
    """Logits (rows, n, vocabulary) of tokens (rows, n) behind the first `starts` tokens of the pages in `tables`.

    Raises UnsupportedModelError if one of them is no finite number.
    """
    from exllamav2.attn import ExLlamaV2Attention

    params = ExLlamaV2Attention.PagedParams(
        batch_size=len(starts),
        block_index=torch.tensor(tables, dtype=torch.int32),
        cache_seqlens=torch.tensor(starts, dtype=torch.int32),
        max_cache_seqlen=max(starts),
        page_size=page,
        q_len=tokens.shape[1],
    )
    logits = model.forward_chunk(input_ids=tokens, attn_params=params, cache=cache)["logits"]
    found: torch.Tensor = torch.as_tensor(logits)[..., : model.config.vocab_size].float().cpu()
    if not bool(found.isfinite().all()):
        raise UnsupportedModelError("its numbers overflow in half precision, in which ExLlamaV2 computes")
    return found


def _alike(one: torch.Tensor, other: torch.Tensor) -> float:
    """The least correlation between corresponding rows of two logit tensors (..., vocabulary)."""
    one, other = (rows - rows.mean(dim=-1, keepdim=True) for rows in (one, other))
    return float(torch.nn.functional.cosine_similarity(one, other, dim=-1).min())


@torch.inference_mode()
def check_head_norm(model: Any) -> None:
    """Raises UnsupportedModelError if queries and keys are not normalised by their root mean square."""
    from exllamav2.headnorm import ExLlamaV2HeadNorm

    for module in model.modules:
        norm = getattr(module, "q_norm", None)
        if not isinstance(norm, ExLlamaV2HeadNorm):
            continue
        x = torch.linspace(-1.0, 3.0, norm.num_heads * norm.head_dim, device=norm.weight.device).half()
        x = x.view(1, 1, norm.num_heads, norm.head_dim)
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + norm.variance_epsilon)
        error = float((norm.forward(x.clone()).float() - wide * scale * norm.weight.float()).abs().max())
        if error > 0.05 * float((wide * scale * norm.weight.float()).abs().max()):
            raise UnsupportedModelError(f"{norm.key} is not a root mean square norm here: off by {error:.2g}")
        return
