"""The contest of policies on a profile's records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.simulation.contest import LOADS, add_contest, hold_contest, safe_constant
from experiments.simulation.recording import read_recording
from models.chat_model import load_chat_model
from models.profile.contest import CONSTANT, FULL, LOAD_AWARE
from models.profile.profile import Profile, read_profile
from models.profile.tables import OperatingPoint
from models.reasoner import bundled_model
from tests.support.analysis_profile import made_profile
from tests.support.calibrations import save_calibration

REQUESTS = 60


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """A calibration as it was before its contest, and its file since."""
    file = save_calibration(tmp_path_factory.mktemp("contests"))
    before = read_profile(file)
    add_contest(load_chat_model(bundled_model()), bundled_model(), file, requests=REQUESTS)
    return before, file


@pytest.mark.slow
def test_nothing_but_the_contest_is_added_to_the_profile(held: tuple[Profile, Path]) -> None:
    before, file = held
    found = read_profile(file)
    assert found.contest is not None
    assert replace(found, contest=None) == before


@pytest.mark.slow
def test_all_policies_serve_the_same_loads(held: tuple[Profile, Path]) -> None:
    before, file = held
    found = read_profile(file).contest
    assert found is not None
    assert [one.load for one in found.loads] == list(LOADS)
    assert found.requests == REQUESTS
    safe = safe_constant(before)
    assert (found.threshold, found.budget) == (safe.threshold, safe.budget)
    for one in found.loads:
        assert one.rate == pytest.approx(one.load * before.full_thought_rate)
        assert {FULL, CONSTANT, LOAD_AWARE} <= {played.name for played in one.played}
        assert one.low <= one.gain <= one.high
        full, constant = one.of(FULL), one.of(CONSTANT)
        assert full is not None
        assert constant is not None
        assert constant.tokens < full.tokens
        assert constant.latency_s < full.latency_s
    busiest = [one.of(FULL) for one in found.loads]
    assert [one.latency_s for one in busiest if one] == sorted(one.latency_s for one in busiest if one)


@pytest.mark.slow
def test_a_contest_is_the_same_again(held: tuple[Profile, Path]) -> None:
    before = held[1].read_bytes()
    add_contest(load_chat_model(bundled_model()), bundled_model(), held[1], requests=REQUESTS)
    assert held[1].read_bytes() == before


@pytest.mark.slow
def test_a_certificate_of_nothing_holds_none(held: tuple[Profile, Path]) -> None:
    profile, known = read_recording(load_chat_model(bundled_model()), bundled_model(), held[1])
    nothing = tuple(tuple((0.0,) * len(row) for row in rows) for rows in profile.accuracy)
    assert hold_contest(replace(profile, accuracy=nothing), known) is None


def test_the_safe_constant_is_certified_and_cheaper_the_less_accuracy_it_costs() -> None:
    for rows in range(1, 8):
        profile = made_profile(certified_to=rows)
        assert safe_constant(profile) in profile.points()
    free = replace(profile, accuracy=tuple(tuple((0.9,) * len(row) for row in rows) for rows in profile.accuracy))
    assert safe_constant(free) == OperatingPoint(threshold=0.5, budget=90)  # where accuracy is no matter
