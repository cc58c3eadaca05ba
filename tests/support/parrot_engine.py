"""A toy engine in one file, without torch: a parrot that says one text to every prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from engine.base import Capabilities, Event, ProbeId, ProbeSpec, Request, SequenceId, Started, Tokens
from engine.base_engine import BaseEngine
from engine.constraint import Constraint
from engine.options import EngineOptions, Opened
from engine.probe import Probe
from models.tokenizer import ChatTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ParrotOptions(EngineOptions):
    """Opens a parrot."""

    kind: ClassVar[str] = "parrot"

    says: str = "Let me see, let me see, let me see, let me see.\n\nWait, I know.\n</think>\n\nPieces of eight!"

    def open(self, directory: Path) -> Opened:
        tokenizer = ChatTokenizer(directory)
        script = (*tokenizer.encode(self.says), min(tokenizer.eos_ids))
        vocabulary = len(tokenizer.texts)
        return Opened(kind=self.kind, engine=ParrotEngine(script, vocabulary, self), vocabulary=vocabulary)


@dataclass(frozen=True, slots=True)
class Sure:
    """Implements `engine.readings.Readout`: half sure of `best`, and nothing else comes near."""

    best: int

    def log_prob(self, token: int) -> float:
        return math.log(0.5)

    def gap(self, token: int) -> float:
        return 0.0 if token == self.best else 10.0


@dataclass(slots=True, kw_only=True, eq=False)
class ParrotSequence:
    """An admitted sequence."""

    id: SequenceId
    request: Request
    stops_armed: bool
    banned: frozenset[int] = frozenset()
    constraint: Constraint | None = None  # never one: the engine declares none
    tokens: list[int] = field(default_factory=list)  # new ones
    unannounced: list[int] = field(default_factory=list)
    probe: Probe | None = None

    @property
    def new_tokens(self) -> int:
        return len(self.tokens)


class ParrotEngine(BaseEngine[ParrotSequence]):
    """Implements `engine.base.Engine`; decodes `script` over and over, until its last token may be sampled."""

    def __init__(self, script: tuple[int, ...], vocabulary: int, options: ParrotOptions) -> None:
        super().__init__(vocabulary)
        self._script = script
        self._options = options

    @property
    def max_tokens(self) -> int:
        return self._options.cells_taken

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(engine="parrot", sampling=False, batch_invariant=True)

    def step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        while self._waiting and len(self._running) < self._options.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            del self._waiting[sequence]
            self._running[sequence] = ParrotSequence(id=sequence, request=request, stops_armed=request.stops_armed)
            events.append(Started(sequence=sequence))
        for state in list(self._running.values()):
            script = self._script_for(state.request)
            token = script[state.new_tokens % len(script)]
            if token in state.request.stop_tokens and not state.stops_armed:
                token = script[0]
            state.tokens.append(token)
            events.append(Tokens(sequence=state.id, tokens=(token,)))
            probe = state.probe
            if probe is not None:
                probe.rows += 1 if probe.rows else len(probe.spec.suffix)
                probe.extend(Sure(self._script[len(probe.log_probs) % len(self._script)]))
            if not self._finish_if_full(state, events, token) and probe is not None and probe.ended:
                events.append(probe.verdict(state.id))
        return events

    def _script_for(self, request: Request) -> tuple[int, ...]:
        """The tokens that it says to a request."""
        return self._script

    def _is_decoding(self, state: ParrotSequence) -> bool:
        return bool(state.tokens) and not state.unannounced

    def _start_probe(self, state: ParrotSequence, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        state.probe = Probe(id=probe, spec=spec, fork_at=fork_at, path=list(spec.suffix))

    def _has_answer(self, state: ParrotSequence) -> bool:
        return state.probe is not None and state.probe.ended

    def _probe_rows(self, state: ParrotSequence) -> int:
        return 0 if state.probe is None else state.probe.rows

    def _lapse(self, state: ParrotSequence) -> None:
        state.probe = None

    def _adopt(self, state: ParrotSequence, keep: int, then: Sequence[int]) -> None:
        assert state.probe is not None
        kept = [*state.probe.path[:keep], *then]
        state.tokens[state.probe.fork_at - len(state.request.prompt) :] = kept
        state.unannounced, state.probe = kept, None

    def _append(self, state: ParrotSequence, tokens: Sequence[int]) -> None:
        state.tokens.extend(tokens)
        state.unannounced.extend(tokens)

    def _release(self, state: ParrotSequence) -> None:
        pass

    def _cells(self) -> tuple[int, int]:
        return sum(len(state.request.prompt) + state.new_tokens for state in self._running.values()), self.max_tokens
