"""Records greedy full thoughts with all their probes, and the answers to the same questions without any thought.

Both are records of a calibration, in one file for each part of the questions: an answer without thought is the reply
behind a budget of 0 tokens. A run that was ended goes on from its file and decodes nothing twice.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.reasoner.asking import PROBED, AskedReasoner, ReasonerPart, slices
from experiments.calibration.answering import missing_closings, record_closings, record_thoughts
from experiments.calibration.traces import TraceLog
from experiments.progress import Reporter

NO_THOUGHT_AT_ALL = (0,)  # budgets, tokens


def record_full_thoughts(asked: AskedReasoner, part: ReasonerPart, out: Path, reporter: Reporter) -> None:
    """Records the full thoughts of a part's questions that the file lacks. Raises as `TraceLog` and `answering` do."""
    mine = part.among(len(asked.questions))
    with TraceLog(out, asked.header, asked.keys) as log:
        missing = [number for number in mine if number not in log.traces]
        if not missing:
            return
        loop, done = asked.loop(PROBED), len(mine) - len(missing)
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


def record_direct_answers(asked: AskedReasoner, out: Path, reporter: Reporter) -> None:
    """Records the answers without thought that the file of full thoughts lacks. Raises as `TraceLog` does."""
    with TraceLog(out, asked.header, asked.keys) as log:
        if not (missing := missing_closings(log, NO_THOUGHT_AT_ALL)):
            return
        with reporter.stage("Answers without thought", len(missing)) as advance:
            record_closings(
                asked.loop(),
                asked.chat,
                asked.questions,
                log,
                NO_THOUGHT_AT_ALL,
                max_tokens=asked.max_tokens,
                on_done=lambda: advance(1),
            )
