"""Running thoughts, counted on the records of a profile that was calibrated before they were kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.simulation.recording import read_calibration
from experiments.simulation.running_of_records import add_running, with_running
from models.chat_model import load_chat_model
from models.profile.profile import profile_of, read_profile
from models.reasoner import bundled_model
from tests.support.calibrations import save_calibration


@pytest.mark.slow
def test_a_profile_of_an_earlier_release_gets_what_one_of_today_has() -> None:
    chat, directory = load_chat_model(bundled_model()), bundled_model()
    known = read_calibration(chat, directory, profile_of(directory))
    evidence = known.profile.certificate.evidence
    assert evidence is not None
    assert evidence.by_class is not None
    earlier = replace(known.profile.certificate, evidence=replace(evidence, by_class=None))
    assert known.profile.benchmarks is not None
    for lacking in (
        replace(known.profile, certificate=earlier),
        replace(known.profile, benchmarks=None),
        replace(known.profile, benchmarks=replace(known.profile.benchmarks, by_class=None)),
        replace(known.profile, certificate=earlier, benchmarks=None),
    ):
        assert with_running(chat, replace(known, profile=lacking)) == known.profile
    assert np.array_equal(np.sum(evidence.by_class.harmed, axis=0), known.profile.certificate.harmed)
    assert (np.diff(evidence.by_class.alive, axis=2) <= 0).all()  # fewer run later


def test_a_profile_that_its_records_do_not_tell_stays_as_it_is(tmp_path: Path) -> None:
    file = save_calibration(tmp_path)
    before = file.read_bytes()
    found = add_running(load_chat_model(bundled_model()), bundled_model(), file)
    assert found == read_profile(file)
    assert file.read_bytes() == before
