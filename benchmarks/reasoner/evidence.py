"""All that was recorded of a reasoner, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.reasoner.aims import SAMPLES
from benchmarks.reasoner.asking import AskedReasoner
from engine.base import ProbeSpec
from experiments.calibration.races.sampled import SampledReply, read_replies
from experiments.calibration.traces import CalibrationLog, ClosedReply, ThoughtTrace, TraceError, read_records
from experiments.question import Question
from experiments.statistics import Truths

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=False, kw_only=True, eq=False)
class ReasonerEvidence:
    """Questions whose full thoughts are recorded, and what else is known of them."""

    questions: Sequence[Question]
    traces: Sequence[ThoughtTrace]  # of each question
    direct: Sequence[ClosedReply | None]  # the answer without thought; None: not recorded
    replies: Sequence[Sequence[SampledReply]]  # sampled, in the samples' order; empty: not all are recorded
    spec: ProbeSpec  # of the recorded probes

    @cached_property
    def right(self) -> Truths:
        """Whether each full thought is right."""
        return np.array([one.right for one in self.traces], dtype=np.bool_)

    @cached_property
    def capped(self) -> Truths:
        """Whether each full thought was closed at the cap."""
        return np.array([not one.ended for one in self.traces], dtype=np.bool_)

    @cached_property
    def lengths(self) -> Numbers:
        """Tokens of each full thought."""
        return np.array([len(one.thought) for one in self.traces], dtype=np.int64)

    @cached_property
    def families(self) -> dict[str, Numbers]:
        """The questions of each family, as places, in the families' order."""
        found: dict[str, list[int]] = {}
        for place, one in enumerate(self.questions):
            found.setdefault(one.benchmark, []).append(place)
        return {name: np.array(places) for name, places in found.items()}

    @property
    def hardest(self) -> str:
        """The family with the fewest full thoughts right."""
        return min(self.families, key=lambda name: float(self.right[self.families[name]].mean()))

    @property
    def easiest(self) -> str:
        """The family with the most full thoughts right."""
        return max(self.families, key=lambda name: float(self.right[self.families[name]].mean()))

    @cached_property
    def thought_away(self) -> Numbers:
        """The questions that were answered without thought, too, as places."""
        return np.array([n for n, one in enumerate(self.direct) if one is not None], dtype=np.int64)

    @cached_property
    def drawn(self) -> Numbers:
        """The questions with sampled replies, as places."""
        return np.array([n for n, mine in enumerate(self.replies) if mine], dtype=np.int64)

    def in_family(self, places: Numbers, name: str) -> Numbers:
        """Returns those of some places that are of a family."""
        return np.intersect1d(places, self.families[name])

    def right_directly(self, places: Numbers) -> Truths:
        """Returns whether the answers without thought are right at places of `thought_away`."""
        found = (self.direct[place] for place in places)
        return np.array([one is not None and one.right for one in found], dtype=np.bool_)


def read_thoughts(asked: AskedReasoner, files: Sequence[Path]) -> CalibrationLog:
    """Returns what some files of full thoughts have of a reasoner's questions, numbered as these are.

    Raises TraceError if a file cannot be read, or is of another model or cap.
    """
    whole = CalibrationLog(path=files[0], header=asked.header)
    for file in files:
        log = read_records(file)
        for name, ours in asked.header.items():
            if log.header.get(name) != ours:
                raise TraceError(f"{file}: {name} is {log.header.get(name)!r}, must be {ours!r}")
        mine = log.of(asked.keys)
        whole.traces.update(mine.traces)
        whole.closings.update(mine.closings)
        whole.keys.update(mine.keys)
    return whole


def read_samples(asked: AskedReasoner, files: Sequence[Path]) -> dict[str, list[SampledReply]]:
    """Returns the sampled replies of some files by the question's key, in the samples' order.

    Raises RepliesError if a file cannot be read, or is of another model or cap.
    """
    found: dict[str, dict[int, SampledReply]] = {}
    for file in files:
        for one in read_replies(file, asked.header):
            found.setdefault(one.question, {})[one.sample] = one
    return {key: [mine[sample] for sample in sorted(mine)] for key, mine in found.items()}


def evidence(
    asked: AskedReasoner, log: CalibrationLog, samples: Mapping[str, Sequence[SampledReply]]
) -> ReasonerEvidence:
    """Puts together what was recorded of the questions that have a full thought.

    Raises TraceError if there is none, or a family has none.
    """
    numbers = sorted(log.traces)
    replies = (samples.get(asked.keys.keys[number], ()) for number in numbers)
    found = ReasonerEvidence(
        questions=[asked.questions[number] for number in numbers],
        traces=[log.traces[number] for number in numbers],
        direct=[log.closings.get((number, 0)) for number in numbers],
        replies=[mine if len(mine) == SAMPLES else () for mine in replies],
        spec=asked.spec,
    )
    missing = {one.benchmark for one in asked.questions} - found.families.keys()
    if missing:
        raise TraceError(f"{log.path}: has no full thought of {', '.join(sorted(missing))}")
    return found
