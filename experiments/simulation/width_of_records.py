"""Tabulates races in a profile whose replies were sampled earlier. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.calibration.looks import recounted_races
from experiments.calibration.races.racing import widened
from experiments.calibration.traces import run_questions
from experiments.simulation.levers_of_records import certifying
from experiments.simulation.recording import CalibratedRecords
from models.chat_model import ChatModel
from models.profile.profile import Profile


def raced(file: Path, width: int, chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile `file` with races tabulated on its records and on the replies beside it.

    It counts as one more look at a certificate. Raises the errors of `widened`.
    """
    keys, mine = run_questions(known.questions, files).keys, certifying(chat, known, files)
    traces = [mine.log.traces[number] for number in range(len(known.questions))]
    header = {name: value for name, value in known.log.header.items() if name not in ("format", "version")}
    made = widened(known.profile, chat, traces, keys, file, header, width)
    return recounted_races(made, replace(mine.look, questions=keys))
