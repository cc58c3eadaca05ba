"""The torch engine: continuous batching of packed forward passes, with zero-copy probes, on any CPU.

A sequence is its tokens and the count of tokens that have keys and values. A step computes the missing ones of all
sequences at once: a prefill chunk, a decoded token, forced tokens or a probe, whichever is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.base import Capabilities, Event, ProbeId, ProbeSpec, Started
from engine.decoding import ComputedEngine, Due, constraints
from engine.torch.arena import KVArena
from engine.torch.packed import PackedBatch, PackedModel, Segment
from engine.torch.sequence import SequenceState


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEngineConfig:
    """Sizes of the torch engine."""

    cells: int = 65_536  # tokens of KV cache, shared by all sequences
    max_batch: int = 32  # sequences decoded at once; more wait
    prefill_chunk: int = 256  # prompt tokens per step, so that running sequences never stall for long

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch", "prefill_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")


class TorchEngine(ComputedEngine[SequenceState]):
    """Implements `engine.base.Engine`."""

    def __init__(
        self, model: PackedModel, config: TorchEngineConfig | None = None, *, batch_invariant: bool = True
    ) -> None:
        """`batch_invariant`: whether the model's logits of a row are the same whatever is beside the row."""
        super().__init__(model.shape.vocabulary)
        self._batch_invariant = batch_invariant
        self._model = model
        self._config = config or TorchEngineConfig()
        shape = model.shape
        self._arena = KVArena(
            layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, cells=self._config.cells
        )
        self._groups = shape.heads // shape.kv_heads

    @property
    def prefill_chunk(self) -> int:
        return self._config.prefill_chunk

    @property
    def max_tokens(self) -> int:
        return min(self._config.cells, self._model.shape.max_positions)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="torch",
            masks=True,
            constraints=True,
            token_log_probs=True,
            pausing=True,
            batch_invariant=self._batch_invariant,
        )

    def _start_probe(self, state: SequenceState, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        state.fork(probe, spec, fork_at)

    def _lapse(self, state: SequenceState) -> None:
        state.lapse(self._arena)

    def _adopt(self, state: SequenceState, keep: int, then: Sequence[int]) -> None:
        state.adopt(self._arena, keep, then)

    def _release(self, state: SequenceState) -> None:
        self._arena.release(state.extent)

    def _lend(self, lender: SequenceState, state: SequenceState, count: int) -> bool:
        self._arena.move(source=lender.extent.start, target=state.extent.start, count=count)
        state.extent.used = count
        return True

    def _cells(self) -> tuple[int, int]:
        return self._arena.reserved, self._arena.cells

    @torch.inference_mode()
    def step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._admit(events)
        plan = self._plan()
        if plan:
            with self._masks.beside(constraints(plan)):
                logits = self._model.forward(self._pack(plan), self._arena)
            self._advance(plan, logits.numpy(), logits.argmax(dim=-1).tolist(), events)
        return events

    def _admit(self, events: list[Event]) -> None:
        self._go_on(self._config.max_batch)
        while self._waiting and len(self._running) < self._config.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            extent = self._arena.reserve(request.cells)
            if extent is None:
                return
            del self._waiting[sequence]
            self._running[sequence] = SequenceState(extent=extent, **self._common(sequence, request))
            events.append(Started(sequence=sequence))

    def _pack(self, plan: Sequence[Due[SequenceState]]) -> PackedBatch:
        tokens: list[int] = []
        positions: list[int] = []
        cells: list[int] = []
        logit_rows: list[int] = []
        segments: list[Segment] = []
        for rows in plan:
            state, start = rows.state, len(tokens)
            base, first, probe = state.extent.start, state.computed, state.probe
            tokens += state.tokens[first : first + rows.own]
            positions += range(first, first + rows.own)
            cells += range(base + state.cell(first), base + state.cell(first) + rows.own)
            end = cells[-1] + 1
            if rows.samples:
                logit_rows.append(len(tokens) - 1)
            if rows.probe and probe is not None:
                done, hole = probe.computed, base + probe.hole_at + probe.computed
                tokens += probe.path[done:]
                positions += range(probe.fork_at + done, probe.fork_at + done + rows.probe)
                cells += range(hole, hole + rows.probe)
                end = max(end, cells[-1] + 1)
                logit_rows.append(len(tokens) - 1)
            mask = state.mask(rows.own, rows.probe)
            segments.append(
                Segment(
                    rows=slice(start, len(tokens)),
                    cache=self._arena.read(slice(base, end)),
                    mask=None if mask is None else torch.from_numpy(mask.repeat(self._groups, axis=0)),
                )
            )
            state.extent.used = max(state.extent.used, end - base)
        return PackedBatch(
            tokens=torch.tensor(tokens),
            positions=torch.tensor(positions),
            cells=torch.tensor(cells),
            segments=segments,
            logit_rows=torch.tensor(logit_rows, dtype=torch.int64),
            kv_heads=self._model.shape.kv_heads,
        )
