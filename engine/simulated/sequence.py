"""A simulated sequence and its probe: their tokens are known beforehand and reported step by step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.base import Probed, ProbeId, ProbeSpec, Request, SequenceId
from engine.constraint import Constraint
from engine.simulated.model import Course, TrialAnswer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedProbe:
    """A probe whose end is known when it is forked."""

    id: ProbeId
    spec: ProbeSpec
    trial: TrialAnswer
    fork_at: int  # tokens of its sequence, prompt included, that the probe continues
    forked: int  # the pass after which it was forked
    drawn: int  # answer tokens until it ends, the terminator included
    gave_up: bool

    @property
    def due(self) -> int:
        """The pass in which the probe ends: each pass draws one token."""
        return self.forked + self.drawn

    @property
    def path(self) -> tuple[int, ...]:
        """Suffix, answer, terminator."""
        end = () if self.trial.terminator is None else (self.trial.terminator,)
        return (*self.spec.suffix, *(*self.trial.answer, *end)[: self.drawn])

    def rows(self, passed: int) -> int:
        """Token rows that the probe has cost after pass `passed`: the suffix at once, then one per answer token."""
        return len(self.spec.suffix) + passed - self.forked - 1 if passed > self.forked else 0

    def probed(self, sequence: SequenceId) -> Probed:
        """Returns the Probed event of the ended probe."""
        log_probs = self.trial.log_probs[: self.drawn]
        return Probed(
            sequence=sequence,
            probe=self.id,
            answer=self.trial.answer[: self.drawn],
            terminator=self.trial.terminator if self.drawn > len(self.trial.answer) else None,
            log_probs=log_probs,
            confidence=self.spec.score.confidence(log_probs),
            gave_up=self.gave_up,
            rows=self.rows(self.due),
            readings=self.trial.readings,
        )


def drawn(trial: TrialAnswer, spec: ProbeSpec) -> tuple[int, bool]:
    """Returns how many tokens of a trial answer are drawn, terminator included, and whether the probe then gives up."""
    given_up = spec.gives_up(trial.log_probs)
    if given_up is not None:
        return given_up, True
    return len(trial.log_probs) + (trial.terminator is not None), False


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedSequence:
    """An admitted sequence; `said` holds its new tokens that were reported or forced.

    After pass s it has s − zero new tokens, those not reported among them, unless it is paused.
    """

    id: SequenceId
    request: Request
    difficulty: str | None  # None: the prompt has no class
    stops_armed: bool
    banned: frozenset[int]
    prefill: int  # prompt tokens still to be computed; 0: the sequence decodes
    course: Course = field(default_factory=lambda: Course(tokens=()))
    start: int = 0  # new tokens before the course
    looked: int = 0  # number of the course's looks that are past
    zero: int = 0
    kept: int | None = None  # new tokens of a paused sequence; None: it is not paused
    said: list[int] = field(default_factory=list)
    unannounced: list[int] = field(default_factory=list)  # the last tokens of `said`, still to be reported
    steered: bool = False  # tokens were forced or adopted: no budget closes its thought any more
    probe: SimulatedProbe | None = None
    constraint: Constraint | None = None  # never one: the engine declares none

    @property
    def new_tokens(self) -> int:
        """Number of new tokens that were reported or forced."""
        return len(self.said)

    def has(self, passed: int) -> int:
        """The new tokens that the sequence has after pass `passed`, reported or not."""
        return passed - self.zero if self.kept is None else self.kept

    def untold(self, passed: int) -> tuple[int, ...]:
        """The tokens that the sequence has after pass `passed` and that are not yet reported."""
        return self.course.tokens[len(self.said) - self.start : self.has(passed) - self.start]

    def rest(self, passed: int) -> tuple[int, ...]:
        """The course's tokens after pass `passed`."""
        return self.course.tokens[self.has(passed) - self.start :]

    def due(self, passed: int, budget: int | None, marks: Sequence[int] = ()) -> int:
        """The pass after which the engine looks at the sequence next: an end, a look, a spent budget, a probe's answer.

        `budget` None: unlimited. `marks`: numbers of new tokens at which it looks besides, rising.
        """
        new, start, looks = passed - self.zero, self.start, self.course.looks
        at = min(start + len(self.course.tokens), self.request.max_new_tokens)
        while self.looked < len(looks) and start + looks[self.looked] <= new:
            self.looked += 1
        if self.looked < len(looks):
            at = min(at, start + looks[self.looked])
        if budget is not None and new < budget < at and not self.steered:
            at = budget
        if not self.steered and (mark := bisect_right(marks, new)) < len(marks):
            at = min(at, marks[mark])
        at += self.zero
        return at if self.probe is None or self.probe.due <= passed else min(at, self.probe.due)
