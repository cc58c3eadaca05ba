"""Tabulates races in a profile whose replies were sampled earlier. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.calibration.races.racing import widened
from experiments.calibration.traces import run_questions
from experiments.simulation.recording import read_calibration
from models.chat_model import ChatModel
from models.profile.profile import Profile, write_profile


def add_width(chat: ChatModel, directory: Path, file: Path, width: int, *, files: Sequence[Path] = ()) -> Profile:
    """Tabulates races in the profile `file` from the records and replies beside it; writes and returns it.

    The arguments are those of `read_calibration` and `widened`, whose errors it raises.
    """
    known = read_calibration(chat, directory, file, files=files)
    mine = run_questions(known.questions, files)
    log = known.log.of(mine)
    traces = [log.traces[number] for number in range(len(known.questions))]
    header = {name: value for name, value in known.log.header.items() if name not in ("format", "version")}
    found = widened(known.profile, chat, traces, mine.keys, file, header, width)
    write_profile(file, found)
    return found
