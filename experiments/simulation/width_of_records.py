"""Tabulates races in a profile whose replies were sampled earlier. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.calibration.races.racing import widened
from experiments.calibration.traces import run_questions
from experiments.simulation.recording import CalibratedRecords
from models.chat_model import ChatModel
from models.profile.profile import Profile


def raced(file: Path, width: int, chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile `file` with races tabulated on its records and on the replies beside it.

    Raises the errors of `widened`.
    """
    mine = run_questions(known.questions, files)
    log = known.log.of(mine)
    traces = [log.traces[number] for number in range(len(known.questions))]
    header = {name: value for name, value in known.log.header.items() if name not in ("format", "version")}
    return widened(known.profile, chat, traces, mine.keys, file, header, width)
