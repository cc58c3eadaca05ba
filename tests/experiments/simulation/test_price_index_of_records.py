"""The index, tabulated on the records of the bundled model's profile, and prices chosen by the controller."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policies.load_aware import LoadAware
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.calibration.pricing.index import PRICES
from experiments.simulation.price_index_of_records import price_indexed
from experiments.simulation.recording import read_calibration, read_recording
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import load_chat_model
from models.profile.profile import profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.calibrations import save_calibration
from tests.support.price_index_profile import MEDIANS, made_index, made_tables
from tests.support.without_levers import without_levers


@pytest.mark.slow
def test_a_profile_gets_its_index_from_its_own_records(tmp_path: Path) -> None:
    chat, directory = load_chat_model(bundled_model()), bundled_model()
    known = without_levers(chat, read_calibration(chat, directory, profile_of(directory)))
    before = known.profile
    found = price_indexed(chat, known)
    tables = found.index
    assert tables is not None
    assert tables.refused is None
    assert tables.fitted + tables.count == sum(before.counts)
    assert tables.count <= before.certificate.count
    assert len(tables.prices) == len(PRICES)
    assert (np.diff(np.array(tables.harmed), axis=0) >= 0).all()
    assert (np.diff(np.array(tables.harmed), axis=1) >= 0).all()
    assert len(found.provenance["looked"]) == len(before.provenance["looked"]) + 1
    write_profile(tmp_path / "profile.json", found)
    assert read_profile(tmp_path / "profile.json") == found


@pytest.mark.parametrize("price_index", [True, False])
def test_under_load_thoughts_are_closed_by_prices_where_they_are_in_use(tmp_path: Path, price_index: bool) -> None:
    file = save_calibration(tmp_path)
    profile, known = read_recording(load_chat_model(bundled_model()), bundled_model(), file)
    shorter = replace(made_index(), medians=tuple(median / 10.0 for median in MEDIANS))
    profile = replace(profile, index=replace(made_tables(), index=shorter))
    machine, clock = profiled_machine(profile), VirtualClock()
    context = simulated_context(profile, lambda _: FixedSettings(ControllerSettings()), machine=machine, clock=clock)
    policy = LoadAware(price_index=price_index).make(context)
    arrivals = np.arange(0.0, 20.0, 0.02)
    questions = [number % len(known.questions) for number in range(arrivals.size)]
    records = simulate(
        known, arrivals, questions, machine=machine, clock=clock, policy=policy.policy, observer=policy.observer
    )
    reasons = {record.exit_reason for record in records}
    assert ("price" in reasons) == price_index
    assert not (price_index and "confidence" in reasons)
