"""The torch engine: continuous batching of packed forward passes, with zero-copy probes, on any CPU.

A sequence is its tokens and the count of tokens that have keys and values. A step computes the missing ones of all
sequences at once: a prefill chunk, a decoded token, forced tokens or a probe, whichever is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from engine.base import Capabilities, Event, ProbeId, ProbeSpec, Started, Tokens
from engine.base_engine import DecodingEngine
from engine.readout import LogitsReadout
from engine.torch.arena import KVArena
from engine.torch.packed import PackedBatch, PackedModel, Segment
from engine.torch.sequence import ProbeState, SequenceState


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


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one sequence and its probe in a step."""

    state: SequenceState
    own: int  # rows of the sequence itself
    probe: int  # rows of its probe
    samples: bool  # whether the sequence's last row gives its next token


class TorchEngine(DecodingEngine[SequenceState]):
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
    def max_tokens(self) -> int:
        return min(self._config.cells, self._model.shape.max_positions)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(engine="torch", masks=True, batch_invariant=self._batch_invariant)

    def _start_probe(self, state: SequenceState, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        state.fork(probe, spec, fork_at)

    def _lapse(self, state: SequenceState) -> None:
        state.lapse(self._arena)

    def _adopt(self, state: SequenceState, keep: int, then: Sequence[int]) -> None:
        state.adopt(self._arena, keep, then)

    def _release(self, state: SequenceState) -> None:
        self._arena.release(state.extent)

    def _cells(self) -> tuple[int, int]:
        return self._arena.reserved, self._arena.cells

    @torch.inference_mode()
    def step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._admit(events)
        plan = self._plan()
        if plan:
            logits = self._model.forward(self._pack(plan), self._arena)
            self._advance(plan, logits, events)
        return events

    def _admit(self, events: list[Event]) -> None:
        while self._waiting and len(self._running) < self._config.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            extent = self._arena.reserve(request.cells)
            if extent is None:
                return
            del self._waiting[sequence]
            self._running[sequence] = SequenceState(
                id=sequence,
                request=request,
                extent=extent,
                tokens=list(request.prompt),
                stops_armed=request.stops_armed,
                banned=request.banned,
            )
            events.append(Started(sequence=sequence))

    def _plan(self) -> list[_Rows]:
        """The rows of this step: all due rows of decoding sequences and probes, and one chunk of prefill."""
        plan, chunk = [], self._config.prefill_chunk
        for state in self._running.values():
            own = due = len(state.tokens) - state.computed
            if state.new_tokens == 0:
                own = min(due, chunk)
                chunk -= own
            probe = state.probe
            asked = len(probe.path) - probe.computed if probe is not None else 0
            if own:
                plan.append(_Rows(state, own, asked, own == due))
        return plan

    def _pack(self, plan: Sequence[_Rows]) -> PackedBatch:
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

    def _advance(self, plan: Sequence[_Rows], logits: torch.Tensor, events: list[Event]) -> None:
        """Record the step's results: the next token of each sequence and probe, and those that ended."""
        best: Iterator[int] = iter(logits.argmax(dim=-1).tolist())
        row = 0
        for rows in plan:
            state, probe = rows.state, rows.state.probe
            state.computed += rows.own
            if rows.samples:
                token, averted = state.draw(logits[row].numpy(), next(best))
                row += 1
                state.tokens.append(token)
                events.append(Tokens(sequence=state.id, tokens=(token,), averted=int(averted)))
            if rows.probe and probe is not None:
                self._advance_probe(probe, rows.probe, logits[row], next(best))
                row += 1
            finished = rows.samples and self._finish_if_full(state, events, state.tokens[-1])
            if rows.samples and not finished and probe is not None and probe.ended:
                events.append(probe.verdict(state.id))

    def _advance_probe(self, probe: ProbeState, rows: int, logits: torch.Tensor, best: int) -> None:
        probe.computed += rows
        probe.rows += rows
        probe.extend(LogitsReadout(logits, best))
