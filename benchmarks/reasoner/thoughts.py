"""Records greedy full thoughts with all their probes, and the answers to the same questions without any thought.

Both are records of a calibration, in one file for each part of the questions: an answer without thought is the reply
behind a budget of 0 tokens. Further budgets may be recorded beside it. A run that was ended goes on from its file and
decodes nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.reasoner.asking import AskedReasoner, ReasonerPart, slices
from experiments.calibration.answering import missing_closings, record_closings, record_thoughts
from experiments.calibration.traces import TraceLog
from experiments.evaluation.evaluation import FULL_THOUGHT
from experiments.progress import Reporter


def record_full_thoughts(asked: AskedReasoner, part: ReasonerPart, out: Path, reporter: Reporter) -> None:
    """Records the full thoughts of a part's questions that the file lacks. Raises as `TraceLog` and `answering` do."""
    mine = part.among(len(asked.questions))
    with TraceLog(out, asked.header, asked.keys) as log:
        missing = [number for number in mine if number not in log.traces]
        if not missing:
            return
        loop, done = asked.loop(FULL_THOUGHT), len(mine) - len(missing)
        with reporter.stage("Full thoughts", len(mine), done=done) as advance:
            for numbers in slices(missing):
                record_thoughts(
                    loop,
                    asked.chat,
                    asked.questions,
                    log,
                    max_tokens=asked.max_tokens,
                    numbers=numbers,
                    on_done=lambda: advance(1),
                )


def record_closed_answers(asked: AskedReasoner, out: Path, budgets: Sequence[int], reporter: Reporter) -> None:
    """Records the answers that follow if budgets close the file's full thoughts, those that it lacks.

    `budgets`: tokens of a thought; 0: no thought. Raises as `TraceLog` and `answering` do.
    """
    with TraceLog(out, asked.header, asked.keys) as log:
        if not (missing := missing_closings(log, budgets)):
            return
        with reporter.stage("Answers of closed thoughts", len(missing)) as advance:
            record_closings(
                asked.loop(),
                asked.chat,
                asked.questions,
                log,
                budgets,
                max_tokens=asked.max_tokens,
                on_done=lambda: advance(1),
            )
