"""The llama.cpp engine: continuous batching over one context, whose sequences share cells with their probes.

A sequence is its tokens and the count of tokens that have keys and values. A step decodes the missing ones of all
sequences at once: a prefill chunk, a decoded token, forced tokens or a probe, whichever is due.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.base import (
    Capabilities,
    Event,
    Finished,
    FinishReason,
    ProbeId,
    ProbeSpec,
    Started,
    Tokens,
)
from engine.base_engine import DecodingEngine, starting_over
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.model import LlamaModel
from engine.llamacpp.readout import ArrayReadout
from engine.llamacpp.sequence import ParentSequence

OVERFLOWN = "the model's numbers overflowed"


@dataclass(frozen=True, slots=True)
class _Due:
    """The rows of one sequence and its probe in a step."""

    state: ParentSequence
    own: int  # rows of the sequence itself
    probe: int  # rows of its probe
    samples: bool  # whether the sequence's last row gives its next token


class LlamaEngine(DecodingEngine[ParentSequence]):
    """Implements `engine.base.Engine`. After an exception in `step` the engine is empty and usable again."""

    def __init__(
        self, model: LlamaModel, config: LlamaConfig | None = None, *, probe_rows: float | None = None
    ) -> None:
        """`probe_rows`: see Capabilities. Raises CapacityError if there is no memory for the cache."""
        super().__init__(model.vocabulary)
        self._model = model
        self._config = config or LlamaConfig()
        self._spares = not (model.window or model.recurrent)
        self._shadows = bool(model.window) and not model.recurrent
        each = 2 if self._spares else 3  # a sequence, its probe, and what keeps either's past
        self._context = LlamaContext(model, self._config, ids=each * self._config.max_batch)
        self._reserved = 0
        self._capabilities = Capabilities(
            engine="llamacpp", masks=True, trim=not model.recurrent, probe_rows=probe_rows
        )

    @property
    def max_tokens(self) -> int:
        return min(self._config.cells, self._model.max_positions)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def occupied(self) -> int:
        """The sequences of llama.cpp that hold anything: 0 once all requests have ended."""
        return self._context.occupied

    def _start_probe(self, state: ParentSequence, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        started = state.fork(probe, spec, fork_at)
        if state.spare is not None:
            started.begin_spare(self._context, state.spare, state.computed)
        elif not self._model.recurrent:
            started.begin(self._context, state.own, state.computed, self._model.window)

    def _lapse(self, state: ParentSequence) -> None:
        state.lapse(self._context)

    def _adopt(self, state: ParentSequence, keep: int, then: Sequence[int]) -> None:
        state.adopt(self._context, keep, then)

    def _release(self, state: ParentSequence) -> None:
        self._reserved -= state.request.cells
        state.release(self._context)

    def _cells(self) -> tuple[int, int]:
        return self._reserved, self._config.cells

    def step(self) -> list[Event]:
        """See `engine.base.Engine.step`. An exception ends every sequence; the next step finds an empty engine."""
        with starting_over(self._start_over):
            return self._step()

    def _step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._admit(events)
        plan = self._plan()
        if plan:
            self._advance(plan, self._context.decode(_rows(plan)), events)
        return events

    def _start_over(self, failure: Exception) -> None:
        self._waiting.clear()
        self._running.clear()
        self._reserved = 0
        self._context.clear()

    def _admit(self, events: list[Event]) -> None:
        while self._waiting and len(self._running) < self._config.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            if self._reserved + request.cells > self._config.cells:
                return
            del self._waiting[sequence]
            self._reserved += request.cells
            self._running[sequence] = ParentSequence(
                id=sequence,
                request=request,
                own=self._context.new(),
                spare=self._context.new() if self._spares else None,
                shadow=self._context.new() if self._shadows else None,
                tokens=list(request.prompt),
                stops_armed=request.stops_armed,
                banned=request.banned,
            )
            events.append(Started(sequence=sequence))

    def _plan(self) -> list[_Due]:
        """The rows of this step: all due rows of decoding sequences and probes, and one chunk of prefill."""
        plan, chunk = [], self._config.prefill_chunk
        for state in self._running.values():
            own = due = len(state.tokens) - state.computed
            if state.new_tokens == 0:
                own = min(due, chunk)
                chunk -= own
            if own:
                plan.append(_Due(state, own, state.probe_due, own == due))
        return plan

    def _advance(self, plan: Sequence[_Due], logits: npt.NDArray[np.float32], events: list[Event]) -> None:
        """Record the step's results: the next token of each sequence and probe, and those that ended."""
        found = zip(logits, logits.argmax(axis=1).tolist(), strict=True)
        for due in plan:
            state, probe = due.state, due.state.probe
            state.computed += due.own
            state.follow(self._context, self._model.window)
            sane = True
            if due.samples:
                row, best = next(found)
                sane = math.isfinite(row[best])
                if sane:
                    token, averted = state.draw(row, best)
                    state.tokens.append(token)
                    events.append(Tokens(sequence=state.id, tokens=(token,), averted=int(averted)))
            if due.probe and probe is not None:
                row, best = next(found)
                sane = sane and math.isfinite(row[best])
                probe.computed += due.probe
                probe.rows += due.probe
                probe.extend(ArrayReadout(row, best))
            if not sane:
                self.cancel(state.id)
                events.append(Finished(sequence=state.id, reason=FinishReason.ERROR, error=OVERFLOWN))
                continue
            finished = due.samples and self._finish_if_full(state, events, state.tokens[-1])
            if due.samples and not finished and probe is not None:
                if probe.ended:
                    events.append(probe.verdict(state.id))
                elif probe.child is None:
                    probe.begin_anchored(self._context, state.own)


def _rows(plan: Sequence[_Due]) -> list[TokenRow]:
    rows: list[TokenRow] = []
    for due in plan:
        rows.extend(due.state.rows(due.own, wanted=due.samples))
        rows.extend(due.state.probe_rows())
    return rows
