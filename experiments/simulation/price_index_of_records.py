"""Fits and tabulates the index of running thoughts on the records of a profile without one. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.calibration.looks import recounted
from experiments.calibration.pricing.index import LADDERS
from experiments.calibration.profile import with_price_index
from experiments.simulation.levers_of_records import certifying
from experiments.simulation.recording import CalibratedRecords
from models.chat_model import ChatModel
from models.profile.profile import Profile


def price_indexed(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with the index tabulated on its records; it counts as one more look at a certificate."""
    mine = certifying(chat, known, files)
    made = with_price_index(
        known.profile, traces=mine.log.traces, closings=mine.log.closings, unseen=mine.unseen, spec=mine.spec
    )
    return recounted(made, replace(mine.look, prices=LADDERS))
