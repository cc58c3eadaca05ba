"""Giving up, tabulated on the records of the bundled model's profile, and chosen by the controller in simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policies.load_aware import LoadAware
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.simulation.levers_of_records import given_up
from experiments.simulation.recording import read_calibration, read_recording
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import load_chat_model
from models.profile.give_up import LADDER
from models.profile.profile import profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.calibrations import save_calibration
from tests.support.give_up_profile import giving_up_profile
from tests.support.without_levers import without_levers


@pytest.mark.slow
def test_a_profile_gets_its_curves_from_its_own_records(tmp_path: Path) -> None:
    chat, directory = load_chat_model(bundled_model()), bundled_model()
    known = without_levers(chat, read_calibration(chat, directory, profile_of(directory)))
    before = known.profile
    found = given_up(chat, known)
    tables = found.give_up
    assert tables is not None
    assert (tables.refused, tables.curves) == (None, LADDER)
    assert tables.harmed[0] == before.certificate.harmed  # the same questions certify
    assert list(tables.medians) == sorted(tables.medians)
    assert tables.fitted == sum(before.counts) - before.certificate.count
    harmed = np.array(tables.harmed)
    assert (np.diff(harmed, axis=0) >= 0).all()
    assert (np.diff(harmed, axis=1) >= 0).all()
    assert before.provenance["looked"].items() < found.provenance["looked"].items()
    assert len(found.provenance["looked"]) == len(before.provenance["looked"]) + 1
    write_profile(tmp_path / "profile.json", found)
    assert read_profile(tmp_path / "profile.json") == found


@pytest.mark.parametrize("give_up", [True, False])
def test_what_the_controller_gives_up_under_load_is_given_up(tmp_path: Path, give_up: bool) -> None:
    """Thoughts that are unsure until their third paragraph, under more load than full thoughts leave room for."""
    file, made = save_calibration(tmp_path), giving_up_profile().give_up
    chat = load_chat_model(bundled_model())
    profile, known = read_recording(chat, bundled_model(), file)
    assert made is not None
    profile = replace(profile, give_up=replace(made, medians=(10.0, 10.0, 10.0)))
    machine, clock = profiled_machine(profile), VirtualClock()
    context = simulated_context(profile, lambda _: FixedSettings(ControllerSettings()), machine=machine, clock=clock)
    policy = LoadAware(give_up=give_up).make(context)
    arrivals = np.arange(0.0, 30.0, 0.02)
    questions = [number % len(known.questions) for number in range(arrivals.size)]
    records = simulate(
        known, arrivals, questions, machine=machine, clock=clock, policy=policy.policy, observer=policy.observer
    )
    given_up_ones = [record for record in records if record.exit_reason == "hopeless"]
    assert bool(given_up_ones) == give_up
    assert not any(record.right for record in given_up_ones)  # as the records say of both trials before
    assert {record.threshold for record in records} <= {point.threshold for point in profile.points()}
