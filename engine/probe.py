"""A probe's trial answer while it is decoded; engines that decode share it, whatever they compute with."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.base import Probed, ProbeId, ProbeSpec, SequenceId
from engine.readings import Readout, read


@dataclass(slots=True, kw_only=True, eq=False)
class Probe:
    """A trial answer on the first `fork_at` tokens of its sequence; `path` is suffix, answer, terminator."""

    id: ProbeId
    spec: ProbeSpec
    fork_at: int
    path: list[int]
    rows: int = 0  # token rows that the probe has cost
    log_probs: list[float] = field(default_factory=list)
    readings: dict[str, float] = field(default_factory=dict)  # see `engine.base.Probed`; empty before the first token
    terminator: int | None = None  # None: none decoded
    gave_up: bool = False
    ended: bool = False

    @property
    def answer(self) -> tuple[int, ...]:
        start = len(self.spec.suffix)
        return tuple(self.path[start : start + len(self.log_probs)])

    def extend(self, readout: Readout) -> None:
        """Append the likeliest token to the answer; it may end the probe."""
        best = readout.best
        if self.spec.read and len(self.path) == len(self.spec.suffix):
            self.readings = read(readout, self.spec)
        self.path.append(best)
        if best in self.spec.answer_stops:
            self.terminator, self.ended = best, True
        else:
            self.log_probs.append(readout.log_prob())
            whole = len(self.log_probs) == self.spec.max_answer_tokens
            self.gave_up = self.spec.hopeless(self.log_probs)
            self.ended = whole or self.gave_up

    def verdict(self, sequence: SequenceId) -> Probed:
        """Returns the Probed event of the ended probe."""
        return Probed(
            sequence=sequence,
            probe=self.id,
            answer=self.answer,
            terminator=self.terminator,
            log_probs=tuple(self.log_probs),
            confidence=self.spec.score.confidence(self.log_probs),
            gave_up=self.gave_up,
            rows=self.rows,
            readings=self.readings,
        )
