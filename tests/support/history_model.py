"""What stands in for CUDA in the tests of the ExLlamaV2 engine; its generator, page table, jobs and cache are real.

The model keeps in each cell of the cache a digest of the token, its position and all that it could see when it was
computed, and draws its logits from the digests that it is told to read. A wrong page, a stale cell, a wrong position
or a missing token therefore changes every token that follows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.exllama.load import import_exllamav2 as import_package
from tests.support.tiny_models import VOCABULARY, Oracle

MAX_POSITIONS = 512
Digests = npt.NDArray[np.uint64]


def import_exllamav2() -> ModuleType:
    """The package's generator module, imported as the loader does, but without its CUDA extension."""
    if "exllamav2_ext" not in sys.modules:
        extension = ModuleType("exllamav2_ext")
        extension.count_match = _count_match  # type: ignore[attr-defined]
        sys.modules["exllamav2_ext"] = extension
    import_package(torch.device("cpu"))
    from exllamav2.generator import dynamic

    return dynamic


def _count_match(a: torch.Tensor, b: torch.Tensor, most: int) -> int:
    """How many of the first `most` tokens of two rows (1, n) are the same from the left."""
    most = min(most, b.shape[1])
    differ = (a[0, :most] != b[0, :most]).nonzero()
    return int(differ[0]) if len(differ) else most


def _mixed(x: Digests) -> Digests:
    """splitmix64's finish: every bit of the input changes about half of those of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_PLACES = _mixed(np.arange(4096, dtype=np.uint64)) | np.uint64(1)
_TOKENS = _mixed(np.arange(512, dtype=np.uint64) + np.uint64(1 << 32))


def digest(seen: Digests, token: int, position: int) -> np.uint64:
    """What a token's cell holds, given the cells before it, in order."""
    before = (seen * _PLACES[: len(seen)]).sum(dtype=np.uint64, keepdims=True)
    own = _TOKENS[token : token + 1] * _PLACES[position : position + 1]
    return np.uint64(_mixed(before + own)[0])


def logits_after(state: np.uint64, vocabulary: int) -> npt.NDArray[np.float64]:
    """Logits (vocabulary,) that follow a digest: Gumbel noise, scaled so that the likeliest token is far from sure."""
    uniform = (_mixed(state ^ _TOKENS[:vocabulary]) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return -0.8 * np.log(-np.log(uniform + 1e-12))


class HistoryModel:
    """As much of ExLlamaV2 as the generator calls: `config`, `cache_map` and `forward_chunk`."""

    def __init__(self, vocabulary: int = VOCABULARY) -> None:
        self.config = SimpleNamespace(
            vocab_size=vocabulary,
            max_seq_len=MAX_POSITIONS,
            max_input_len=2048,
            max_batch_size=1,
            no_flash_attn=False,
            num_hidden_layers=1,
            num_key_value_heads=1,
            head_dim=4,  # halves: the 64 bits of a digest
            arch=SimpleNamespace(lm=SimpleNamespace(mrope=False)),
        )
        self.cache_map = {0: "cpu"}
        self.passes: list[tuple[int, int]] = []  # rows and tokens of each, since it was last emptied
        self.fail_next = False

    def forward_chunk(
        self, input_ids: torch.Tensor, attn_params: Any, cache: Any, *, preprocess_only: bool = False, **_: Any
    ) -> dict[str, torch.Tensor]:
        """Logits (rows, tokens, vocabulary padded to 32) of tokens that continue what each row's pages hold."""
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.passes.append((input_ids.shape[0], input_ids.shape[1]))
        cells: Digests = cache.key_states[0].view(torch.int64).numpy()[0, :, 0, 0].view(np.uint64)
        page, places = attn_params.page_size, np.arange(cache.max_seq_len)
        vocabulary = self.config.vocab_size
        logits = np.zeros((*input_ids.shape, -(-vocabulary // 32) * 32))
        for row, tokens in enumerate(input_ids.tolist()):
            start, table = int(attn_params.cache_seqlens[row]), attn_params.block_index[row].numpy()
            end = start + len(tokens)
            at = table[places[:end] // page] * page + places[:end] % page
            seen = cells[at]
            for i, token in enumerate(tokens):
                seen[start + i] = digest(seen[: start + i], token, start + i)
                logits[row, i, :vocabulary] = logits_after(seen[start + i], vocabulary)
            cells[at[start:]] = seen[start:]
        return {} if preprocess_only else {"logits": torch.from_numpy(logits)}


class HistoryOracle(Oracle):
    """What the history model says of one sequence, worked out without any cache."""

    FOUND_BY_CONTENT = True

    def __init__(self, vocabulary: int = VOCABULARY) -> None:
        self._vocabulary = vocabulary

    def generate(
        self,
        context: Sequence[int],
        tokens: int,
        *,
        stops: frozenset[int] = frozenset(),
        barred: frozenset[int] = frozenset(),
    ) -> list[int]:
        seen = self._digests(context)
        new: list[int] = []
        while len(new) < tokens and not (new and new[-1] in stops):
            logits = logits_after(seen[-1], self._vocabulary)
            logits[list(barred)] = -np.inf
            new.append(int(logits.argmax()))
            seen = np.append(seen, digest(seen, new[-1], len(seen)))
        return new

    def logits(self, context: Sequence[int]) -> npt.NDArray[np.float64]:
        return np.stack([logits_after(state, self._vocabulary) for state in self._digests(context)])

    def _digests(self, context: Sequence[int]) -> Digests:
        seen = np.zeros(len(context), np.uint64)
        for position, token in enumerate(context):
            seen[position] = digest(seen[:position], token, position)
        return seen
