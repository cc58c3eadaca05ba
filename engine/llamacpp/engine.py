"""The llama.cpp engine: continuous batching over one context, whose sequences share cells with their probes.

A sequence is its tokens and the count of tokens that have keys and values. A step decodes the missing ones of all
sequences at once: a prefill chunk, a decoded token, forced tokens or a probe, whichever is due.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.base import Capabilities, Event, ProbeId, ProbeSpec, Started, UnsupportedModelError
from engine.base_engine import starting_over
from engine.decoding import ComputedEngine, Due, constraints
from engine.llamacpp.config import NONE_PAUSED, LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.model import LlamaModel
from engine.llamacpp.sequence import ChildProbe, ParentSequence


class LlamaEngine(ComputedEngine[ParentSequence]):
    """Implements `engine.base.Engine`. After an exception in `step` the engine is empty and usable again.

    After an EngineBrokenError it is not: a GPU's failure may last as long as the process.
    """

    def __init__(
        self, model: LlamaModel, config: LlamaConfig | None = None, *, probe_rows: float | None = None
    ) -> None:
        """`probe_rows`: see Capabilities.

        Raises CapacityError if there is no memory for the cache, UnsupportedModelError for a model whose sequences must
        share one.
        """
        super().__init__(model.vocabulary)
        self._model = model
        self._config = config or LlamaConfig()
        self._apart = not self._config.shared
        plain = not (model.window or model.recurrent)
        if self._apart and not plain:
            raise UnsupportedModelError(
                f"{model.file}: shared_cache is false, must be true: not every layer sees all tokens"
            )
        self._spares = plain and not self._apart
        self._shadows = bool(model.window) and not model.recurrent
        each = 2 if plain else 3  # a sequence, its probe, and what keeps either's past
        self._context = LlamaContext(model, self._config, ids=each * self._config.held)
        self._reserved = 0
        self._capabilities = Capabilities(
            engine="llamacpp",
            masks=True,
            constraints=True,
            token_log_probs=True,
            trim=not model.recurrent,
            pausing=self._config.paused > 0,
            most_paused=self._config.paused,
            probe_rows=probe_rows,
            kept_by={} if self._config.paused else {"pausing": NONE_PAUSED},
        )

    @property
    def prefill_chunk(self) -> int:
        return self._config.prefill_chunk

    @property
    def max_tokens(self) -> int:
        return min(self._config.cells_each, self._model.max_positions)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def _cells_in_all(self) -> int:
        return self._config.cells if self._config.shared else self._config.cells_each * self._config.held

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

    def _can_lend(self, lender: ParentSequence, count: int) -> bool:
        return not self._model.recurrent or lender.computed <= count  # a layer's state is that of its newest token

    def _lend(self, lender: ParentSequence, state: ParentSequence, count: int) -> bool:
        return state.borrow(self._context, lender.own, count, self._model.window)

    def _most(self, state: ParentSequence) -> int:
        """The most rows of its prompt that a sequence gets now: a recurrent layer's state is lent before it is lost."""
        left = len(state.request.prompt) - 1 - state.computed
        lends = self._model.recurrent and left > 0 and self._awaited(state)
        return left if lends else left + 1

    def _cells(self) -> tuple[int, int]:
        return self._reserved, self._cells_in_all

    def step(self) -> list[Event]:
        """See `engine.base.Engine.step`. An exception ends every sequence; the next step finds an empty engine."""
        with starting_over(self._start_over):
            return self._step()

    def _step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._go_on(self._config.max_batch)
        self._admit(events)
        plan = self._plan()
        if self._apart:
            plan.sort(key=_own)  # what decodes together must be in the order of the ids
        if plan:
            with self._masks.beside(constraints(plan)):
                logits = self._context.decode(_rows(plan))
            self._advance(plan, logits, logits.argmax(axis=1).tolist(), events)
        return events

    def _start_over(self, failure: Exception) -> None:
        self._forget_all()
        self._reserved = 0
        self._context.clear()
        self._context.try_out()

    def _admit(self, events: list[Event]) -> None:
        while self._waiting and len(self._running) < self._config.max_batch and self._has_place():
            sequence, request = next(iter(self._waiting.items()))
            if self._reserved + request.cells > self._cells_in_all:
                return
            del self._waiting[sequence]
            self._reserved += request.cells
            self._running[sequence] = ParentSequence(
                own=self._context.new(),
                spare=self._context.new() if self._spares else None,
                shadow=self._context.new() if self._shadows else None,
                apart=self._apart,
                **self._common(sequence, request),
            )
            events.append(Started(sequence=sequence))

    def _has_place(self) -> bool:
        """Whether llama.cpp can tell one more sequence apart: a paused one keeps its ids and cells."""
        return len(self._running) + len(self._paused) < self._config.held

    def _follow(self, state: ParentSequence) -> None:
        if self._shadows:
            state.follow(self._context, self._model.window)

    def _await_answer(self, state: ParentSequence, probe: ChildProbe) -> None:
        if probe.child is None:
            probe.begin_anchored(self._context, state.own)


def _own(due: Due[ParentSequence]) -> int:
    return due.state.own


def _rows(plan: Sequence[Due[ParentSequence]]) -> list[TokenRow]:
    rows: list[TokenRow] = []
    for due in plan:
        rows.extend(due.state.rows(due.own, wanted=due.samples))
        if due.probe:
            rows.extend(due.state.probe_rows())
    return rows
