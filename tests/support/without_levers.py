"""A calibration as it was before levers were tabulated on its records."""

from __future__ import annotations

from dataclasses import replace

from experiments.calibration.looks import looks_of
from experiments.calibration.pricing.index import LADDERS
from experiments.simulation.levers_of_records import certifying
from experiments.simulation.recording import CalibratedRecords
from models.chat_model import ChatModel
from models.profile.give_up import LADDER
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import Profile


def without_points(profile: Profile) -> Profile:
    """The profile without the points of any lever; the looks at certificates stay counted."""
    return replace(profile, give_up=None, index=None, no_thought=None, width=None, benchmarks=None)


def without_levers(chat: ChatModel, known: CalibratedRecords) -> CalibratedRecords:
    """The records' profile without the points of any lever, and without the looks that they were."""
    look = certifying(chat, known).look
    levers = (replace(look, curves=LADDER), replace(look, prices=LADDERS), replace(look, cut_offs=CUT_OFFS))
    looked = {key: delta for key, delta in looks_of(known.profile).items() if key not in {one.key for one in levers}}
    bare = without_points(known.profile)
    return replace(known, profile=replace(bare, provenance={**bare.provenance, "looked": looked}))
