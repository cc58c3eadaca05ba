"""The torch engine: continuous batching of packed forward passes, with zero-copy probes, on any CPU.

A sequence is its tokens and the count of tokens that have keys and values. A step computes the missing ones of all
sequences at once: a prefill chunk, a decoded token, forced tokens or a probe, whichever is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch

from engine.base import (
    EngineLoad,
    Event,
    Finished,
    FinishReason,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceError,
    SequenceId,
    Started,
    Tokens,
)
from engine.checks import check_adoption, check_fork, check_request, check_room, check_tokens
from engine.sampling import draw
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


class TorchEngine:
    """Implements `engine.base.Engine`."""

    def __init__(self, model: PackedModel, config: TorchEngineConfig | None = None) -> None:
        self._model = model
        self._config = config or TorchEngineConfig()
        shape = model.shape
        self._arena = KVArena(
            layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, cells=self._config.cells
        )
        self._groups = shape.heads // shape.kv_heads
        self._ids = count(1)
        self._waiting: dict[SequenceId, Request] = {}  # in order of arrival
        self._running: dict[SequenceId, SequenceState] = {}

    @property
    def max_tokens(self) -> int:
        return min(self._config.cells, self._model.shape.max_positions)

    def submit(self, request: Request) -> SequenceId:
        check_request(request, max_tokens=self.max_tokens, vocabulary=self._model.shape.vocabulary)
        sequence = SequenceId(next(self._ids))
        self._waiting[sequence] = request
        return sequence

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        state = self._decoding(sequence)
        if state.probe is not None and state.probe.ended:
            state.lapse(self._arena)
        check_fork(state, spec, back=back, vocabulary=self._model.shape.vocabulary)
        probe = ProbeId(next(self._ids))
        state.fork(probe, spec, len(state.tokens) - back)
        return probe

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        state = self._probed(probe)
        if state is None or state.probe is None or not state.probe.ended:
            raise SequenceError(f"probe {probe} is unknown, still running, or has lapsed")
        after = state.probe.fork_at - len(state.request.prompt)
        vocabulary = self._model.shape.vocabulary
        check_adoption(state, state.probe.path, keep, then, after=after, vocabulary=vocabulary)
        state.adopt(self._arena, keep, then)

    def drop(self, probe: ProbeId) -> int:
        state = self._probed(probe)
        if state is None or state.probe is None:
            return 0
        rows = state.probe.rows
        state.lapse(self._arena)
        return rows

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        state = self._decoding(sequence)
        check_tokens(tokens, "what is forced", self._model.shape.vocabulary)
        check_room(state, state.new_tokens + len(tokens))
        state.lapse(self._arena)
        state.tokens.extend(tokens)
        state.unannounced.extend(tokens)

    def arm_stops(self, sequence: SequenceId) -> None:
        if sequence in self._running:
            self._running[sequence].stops_armed = True
        elif sequence in self._waiting:
            self._waiting[sequence] = replace(self._waiting[sequence], stops_armed=True)

    def cancel(self, sequence: SequenceId) -> None:
        state = self._running.pop(sequence, None)
        if state is not None:
            self._arena.release(state.extent)
        else:
            self._waiting.pop(sequence, None)

    def load(self) -> EngineLoad:
        return EngineLoad(
            running=len(self._running),
            waiting=len(self._waiting),
            probing=sum(state.probe is not None and not state.probe.ended for state in self._running.values()),
            cells_reserved=self._arena.reserved,
            cells_total=self._arena.cells,
        )

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

    def _settle(self, events: list[Event]) -> None:
        """Lapse ended probes that were not adopted; report the tokens forced or adopted since the last step."""
        for state in list(self._running.values()):
            if state.probe is not None and state.probe.ended:
                state.lapse(self._arena)
            if state.unannounced:
                events.append(Tokens(sequence=state.id, tokens=tuple(state.unannounced), forced=True))
                state.unannounced = []
                self._finish_if_full(state, events)

    def _admit(self, events: list[Event]) -> None:
        while self._waiting and len(self._running) < self._config.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            extent = self._arena.reserve(_cells(request))
            if extent is None:
                return
            del self._waiting[sequence]
            self._running[sequence] = SequenceState(
                id=sequence,
                request=request,
                extent=extent,
                tokens=list(request.prompt),
                stops_armed=request.stops_armed,
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
                token = self._next_token(state, logits[row], next(best))
                row += 1
                state.tokens.append(token)
                events.append(Tokens(sequence=state.id, tokens=(token,)))
            if rows.probe and probe is not None:
                self._advance_probe(probe, rows.probe, logits[row], next(best))
                row += 1
            finished = rows.samples and self._finish_if_full(state, events, state.tokens[-1])
            if rows.samples and not finished and probe is not None and probe.ended:
                events.append(probe.verdict(state.id))

    def _next_token(self, state: SequenceState, logits: torch.Tensor, best: int) -> int:
        sampling, stops = state.request.sampling, state.request.stop_tokens
        masked = not state.stops_armed and bool(stops)
        if sampling.temperature == 0.0 and not (masked and best in stops):
            return best
        return draw(logits.numpy(), sampling, len(state.tokens), stops if masked else frozenset())

    def _advance_probe(self, probe: ProbeState, rows: int, logits: torch.Tensor, best: int) -> None:
        probe.computed += rows
        probe.rows += rows
        probe.extend(logits, best)

    def _finish_if_full(self, state: SequenceState, events: list[Event], sampled: int | None = None) -> bool:
        """End the sequence, and return True, if it has just sampled a stop token or has reached `max_new_tokens`."""
        if sampled is not None and sampled in state.request.stop_tokens:
            reason = FinishReason.STOP
        elif state.new_tokens >= state.request.max_new_tokens:
            reason = FinishReason.LENGTH
        else:
            return False
        self.cancel(state.id)
        events.append(Finished(sequence=state.id, reason=reason))
        return True

    def _probed(self, probe: ProbeId) -> SequenceState | None:
        return next((s for s in self._running.values() if s.probe is not None and s.probe.id == probe), None)

    def _decoding(self, sequence: SequenceId) -> SequenceState:
        state = self._running.get(sequence)
        if state is None or not state.decoding:
            raise SequenceError(
                f"sequence {sequence} is not decoding: it is unknown, waiting, in prefill, or has ended"
            )
        return state


def _cells(request: Request) -> int:
    return len(request.prompt) + request.max_new_tokens + request.probe_room
