"""A probe's trial answer while it is decoded; engines that decode share it, whatever they compute with."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.base import Probed, ProbeId, ProbeSpec, SequenceId, TokenLogProbs
from engine.constraint import Constraint
from engine.readings import Readout, read
from engine.sampling.masks import MaskedRow, MasksAhead
from engine.sampling.readout import LogitsReadout
from engine.sampling.weights import Floats
from models.errors import LaserError
from models.token_masks import Mask, unpacked


@dataclass(slots=True, kw_only=True, eq=False)
class Probe:
    """A trial answer on the first `fork_at` tokens of its sequence; `path` is suffix, answer, terminator."""

    id: ProbeId
    spec: ProbeSpec
    fork_at: int
    path: list[int]
    rows: int = 0  # token rows that the probe has cost
    repeated: int = 0  # of those: of its sequence's newest token, once the probe has begun
    log_probs: list[float] = field(default_factory=list)
    readings: dict[str, float] = field(default_factory=dict)  # see `engine.base.Probed`; empty before the first token
    terminator: int | None = None  # None: none decoded
    gave_up: bool = False
    complete: bool = False  # see `engine.base.Probed`
    ended: bool = False

    @property
    def answer(self) -> tuple[int, ...]:
        start = len(self.spec.suffix)
        return tuple(self.path[start : start + len(self.log_probs)])

    def extend(self, readout: Readout) -> None:
        """Append the likeliest token to the answer; it may end the probe."""
        self._measure(readout)
        self._append(readout.best, readout)

    def _measure(self, readout: Readout) -> None:
        """Take the readings, if this is the answer's first place."""
        if self.spec.read and len(self.path) == len(self.spec.suffix):
            self.readings = read(readout, self.spec)

    def _append(self, token: int, readout: Readout) -> None:
        self.path.append(token)
        if token in self.spec.answer_stops:
            self.terminator, self.ended = token, True
        else:
            self.log_probs.append(readout.log_prob(token))
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
            repeated=self.repeated,
            readings=self.readings,
            complete=self.complete,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class DecodedProbe(Probe):
    """A probe whose answer is decoded from a model's logits, under a constraint of its own if it has one."""

    masks: MasksAhead | None = None  # computes masks beside the model; None: they are computed when they are taken
    constraint: Constraint | None = field(init=False)  # None: any token
    tell: int | None = None  # likeliest tokens told beside each decoded one; None: nothing is told
    told: list[TokenLogProbs] = field(default_factory=list)  # of the path behind the suffix

    def __post_init__(self) -> None:
        self.constraint = None if self.spec.constraint is None else self.spec.constraint.copy()

    def decode(self, logits: Floats, best: int, held: MaskedRow | None = None) -> None:
        """Append the likeliest allowed token by raw `logits` (vocabulary,) with argmax `best`; it may end the probe.

        An answer that can go on by no token ends. If the constraint fails, the probe gives up and has no answer.
        `held`: the logits under the constraint's mask, if they are there.
        """
        readout = LogitsReadout(logits, best)
        self._measure(readout)
        try:
            self._decode(readout, held)
        except LaserError:
            del self.path[len(self.spec.suffix) :]
            self.log_probs.clear()
            self.told.clear()
            self.gave_up = self.ended = True

    def _decode(self, readout: LogitsReadout, held: MaskedRow | None) -> None:
        constraint, token = self.constraint, readout.best
        if constraint is not None:
            allowed = held.allowed if held is not None else unpacked(self._words(constraint), readout.logits.size)
            likeliest = readout.best_of(allowed)
            if likeliest is None:
                self.complete, self.ended = constraint.complete, True
                return
            token = likeliest
        self._append(token, readout)
        if self.tell is not None:
            self.told.append(readout.told(token, self.tell))
        if constraint is not None and self.terminator is None:
            constraint.accept(token)
            if constraint.complete:
                self.complete, self.ended, self.gave_up = True, True, False

    def _words(self, constraint: Constraint) -> Mask:
        return constraint.mask() if self.masks is None else self.masks.of(constraint)


@dataclass(slots=True, kw_only=True, eq=False)
class ComputedProbe(DecodedProbe):
    """A probe of which the first `computed` tokens of its path have keys and values."""

    computed: int = 0

    @property
    def due(self) -> int:
        """The rows that its path is due."""
        return len(self.path) - self.computed
