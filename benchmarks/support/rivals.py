"""Rivals of the torch engine: transformers' continuous batching, and a bare loop without any scheduling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.support.workload import ClockMap, Spent
from engine.torch.arena import Extent, KVArena
from engine.torch.packed import PackedBatch, PackedModel, Segment


class ContinuousBatching:
    """transformers' own continuous batching on a CPU, with the settings that suit it best here.

    SDPA attention, all prompts in few large chunks, no prefix sharing (the prompts share no prefix), no asynchronous
    double batches (they are for GPUs), a cache just large enough for the batch.
    """

    def __init__(self, directory: Path, **settings: Any) -> None:
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")
        self._model = model.eval()
        self._settings = settings

    def decode(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> tuple[list[list[int]], int, Spent]:
        """Returns the new tokens, and the token count and time of the phase in which all sequences decode."""
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        page = self._settings.get("page_size", 256)
        blocks = sum(-(-(len(prompt) + new_tokens) // page) + 1 for prompt in prompts) + 4
        settings = {
            "num_blocks": blocks,
            "max_batch_tokens": 1024,
            "allow_block_sharing": False,
            "use_async_batching": False,
            **self._settings,
        }
        with ClockMap() as clock:
            found = self._model.generate_batch(
                [list(prompt) for prompt in prompts],
                generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                    do_sample=False, max_new_tokens=new_tokens, eos_token_id=-1, pad_token_id=0
                ),
                continuous_batching_config=ContinuousBatchingConfig(**settings),
                record_timestamps=True,
                progress_bar=False,
                warmup=False,
            )
        outputs = list(found.values())
        times = [output.timestamps for output in outputs]
        start, end = max(moments[0] for moments in times), min(moments[-1] for moments in times)
        tokens = sum(start < moment <= end for moments in times for moment in moments)
        spent = Spent(end - start, clock.cpu_s(start, end))
        return [list(output.generated_tokens) for output in outputs], tokens, spent


class BareLoop:
    """The engine's packed forward pass, driven by minimal code: no queue, no events, no stops, no probes."""

    def __init__(self, model: PackedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        shape = model.shape
        self._model = model
        self._groups = shape.heads // shape.kv_heads
        cells = sum(len(prompt) + new_tokens for prompt in prompts)
        self._arena = KVArena(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, cells=cells)
        self._extents: list[Extent] = []
        self.tokens = [list(prompt) for prompt in prompts]
        for prompt in prompts:
            extent = self._arena.reserve(len(prompt) + new_tokens)
            assert extent is not None
            self._extents.append(extent)
        self._newest = [self._prefill(extent, prompt) for extent, prompt in zip(self._extents, prompts, strict=True)]
        for tokens, token in zip(self.tokens, self._newest, strict=True):
            tokens.append(token)

    @torch.inference_mode()
    def step(self) -> None:
        """Decodes one more token of every sequence."""
        starts = [extent.start for extent in self._extents]
        positions = [len(tokens) - 1 for tokens in self.tokens]
        rows = torch.arange(len(starts))
        batch = PackedBatch(
            tokens=torch.tensor(self._newest),
            positions=torch.tensor(positions),
            cells=torch.tensor([start + position for start, position in zip(starts, positions, strict=True)]),
            segments=[
                Segment(rows=slice(row, row + 1), cache=self._arena.read(slice(start, start + position + 1)), mask=None)
                for row, (start, position) in enumerate(zip(starts, positions, strict=True))
            ],
            logit_rows=rows,
            kv_heads=self._model.shape.kv_heads,
        )
        self._newest = self._model.forward(batch, self._arena).argmax(dim=-1).tolist()
        for tokens, token in zip(self.tokens, self._newest, strict=True):
            tokens.append(token)

    @torch.inference_mode()
    def _prefill(self, extent: Extent, prompt: Sequence[int], chunk: int = 256) -> int:
        logits = torch.empty(0)
        for first in range(0, len(prompt), chunk):
            last = min(first + chunk, len(prompt))
            rows = torch.arange(first, last)
            mask = torch.where(torch.arange(last)[None] > rows[:, None], -torch.inf, 0.0)
            segment = Segment(
                rows=slice(0, last - first),
                cache=self._arena.read(slice(extent.start, extent.start + last)),
                mask=mask.repeat_interleave(self._groups, dim=0),
            )
            batch = PackedBatch(
                tokens=torch.tensor(list(prompt[first:last])),
                positions=rows,
                cells=rows + extent.start,
                segments=[segment],
                logit_rows=torch.tensor([last - first - 1]),
                kv_heads=self._model.shape.kv_heads,
            )
            logits = self._model.forward(batch, self._arena)
        return int(logits.argmax())
