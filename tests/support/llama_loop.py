"""llama.cpp's own plain loop as an oracle: one sequence alone, decoded from its first token on, never forked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.model import LlamaModel
from tests.support.tiny_models import Oracle

IDS = 128  # also the most rows of a pass whose logits can all be asked for


class LoopOracle(Oracle):
    """What llama.cpp says of a model that transformers does not have."""

    TIE = LOG_PROB = 1e-3  # both sides compute in float32, and look GELU up in a table of half precision

    def __init__(self, model: LlamaModel) -> None:
        plain = LlamaConfig(
            cells=512, max_batch=1, prefill_chunk=1, kv_type=KVType.F32, flash_attention=FlashAttention.OFF
        )
        self._context = LlamaContext(model, plain, ids=IDS)
        self._known: dict[tuple[object, ...], list[int]] = {}

    def generate(
        self,
        context: Sequence[int],
        tokens: int,
        *,
        stops: frozenset[int] = frozenset(),
        barred: frozenset[int] = frozenset(),
    ) -> list[int]:
        key = (tuple(context), tokens, stops, barred)
        if key not in self._known:
            said: list[int] = []
            logits = self.logits(context)[-1]
            while True:
                logits[sorted(barred)] = -np.inf
                said.append(int(logits.argmax()))
                if said[-1] in stops or len(said) == tokens:
                    break
                (logits,) = self._context.decode([TokenRow(said[-1], len(context) + len(said) - 1, (0,), True)]).copy()
            self._known[key] = said
        return self._known[key]

    def logits(self, context: Sequence[int]) -> np.ndarray:
        self._context.clear()
        rows = [TokenRow(token, at, (0,), True) for at, token in enumerate(context)]
        return self._context.decode(rows).astype(np.float64)
