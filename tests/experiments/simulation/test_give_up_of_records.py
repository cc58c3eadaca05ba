"""Giving up, tabulated on the records of the bundled model's own profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.simulation.give_up_of_records import given_up
from experiments.simulation.recording import read_calibration
from models.chat_model import load_chat_model
from models.profile.give_up import LADDER
from models.profile.profile import profile_of, read_profile, write_profile
from models.reasoner import bundled_model


@pytest.mark.slow
def test_a_profile_gets_its_curves_from_its_own_records(tmp_path: Path) -> None:
    chat, directory = load_chat_model(bundled_model()), bundled_model()
    before = read_profile(profile_of(directory))
    found = given_up(chat, read_calibration(chat, directory, profile_of(directory)))
    tables = found.give_up
    assert tables is not None
    assert (tables.refused, tables.curves) == (None, LADDER)
    assert tables.harmed[0] == before.certificate.harmed  # the same questions certify
    assert list(tables.medians) == sorted(tables.medians)
    assert tables.fitted == sum(before.counts) - before.certificate.count
    harmed = np.array(tables.harmed)
    assert (np.diff(harmed, axis=0) >= 0).all()
    assert (np.diff(harmed, axis=1) >= 0).all()
    assert len(found.provenance["looked"]) == 2
    write_profile(tmp_path / "profile.json", found)
    assert read_profile(tmp_path / "profile.json") == found
