"""A base for engines that wrap another engine to change one call, or to observe."""

from __future__ import annotations

from collections.abc import Sequence

from engine.base import Capabilities, Engine, EngineLoad, Event, ProbeId, ProbeSpec, Request, SequenceId
from engine.constraint import Constraint


class EngineWrapper:
    """Implements `engine.base.Engine` by passing every call on to `engine`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def capabilities(self) -> Capabilities:
        return self.engine.capabilities

    @property
    def max_tokens(self) -> int:
        return self.engine.max_tokens

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        return self.engine.submit(request, like=like)

    def step(self) -> list[Event]:
        return self.engine.step()

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        return self.engine.fork(sequence, spec, back=back)

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        self.engine.adopt(probe, keep=keep, then=then)

    def drop(self, probe: ProbeId) -> int:
        return self.engine.drop(probe)

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        self.engine.force(sequence, tokens)

    def arm_stops(self, sequence: SequenceId) -> None:
        self.engine.arm_stops(sequence)

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        self.engine.ban(sequence, tokens)

    def constrain(self, sequence: SequenceId, constraint: Constraint | None) -> None:
        self.engine.constrain(sequence, constraint)

    def pause(self, sequence: SequenceId) -> None:
        self.engine.pause(sequence)

    def resume(self, sequence: SequenceId) -> None:
        self.engine.resume(sequence)

    def cancel(self, sequence: SequenceId) -> None:
        self.engine.cancel(sequence)

    def load(self) -> EngineLoad:
        return self.engine.load()
