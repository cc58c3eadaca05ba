"""The contest of policies on a profile's records."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.request_record import RequestRecord
from experiments.simulation.contest import (
    LEAST,
    LOADS,
    STRETCH_S,
    STRETCHES,
    WARM,
    Player,
    add_contest,
    gain_of,
    hold_contest,
    load_contest,
    requests_for,
    safe_constant,
)
from experiments.simulation.recording import read_recording
from models.chat_model import load_chat_model
from models.profile.contest import CONSTANT, FULL, LOAD_AWARE
from models.profile.profile import FILE_NAME, Profile, read_profile
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


def test_a_gain_s_interval_is_told_by_the_means_of_stretches_worked_out_by_hand() -> None:
    stretches = [0.10, 0.30, 0.10, 0.30, 0.10, 0.30, 0.10, 0.30]
    gains = np.repeat(stretches, 10) + np.tile([5.0, -5.0], 40)  # what happens within a stretch tells nothing
    gain, width = gain_of(gains)
    assert gain == pytest.approx(0.20)
    student = 3.1276  # 99.17 % quantile, 7 degrees of freedom: three loads share 5 %
    assert width == pytest.approx(student * math.sqrt(8 * 0.1**2 / 7) / math.sqrt(8), rel=1e-4)


@pytest.mark.parametrize(
    ("memory", "least"),
    [
        (0.0, 0.94),  # requests that have nothing to do with one another
        (16.0, 0.91),  # all that differs is a queue, which a fifth of a stretch forgets by 63 %
    ],
)
def test_the_intervals_of_three_loads_hold_together(memory: float, least: float) -> None:
    rng = np.random.default_rng(0)
    runs, count, kept = 3000, 640, math.exp(-1 / memory) if memory else 0.0
    queue = rng.normal(size=runs)
    gains = np.empty((runs, count))
    for number in range(count):
        queue = kept * queue + math.sqrt(1 - kept**2) * rng.normal(size=runs)
        gains[:, number] = 0.01 + queue
    found = np.array([gain_of(run) for run in gains])
    covered = np.abs(found[:, 0] - 0.01) <= found[:, 1]
    assert least <= np.mean(covered.reshape(-1, len(LOADS)).all(axis=1)) <= 0.97


def test_a_load_counts_what_each_policy_did_once_the_run_is_warm() -> None:
    warm, each = 20, 10

    def served(latency_s: float, slower: int = 0) -> list[RequestRecord]:
        """Right answers at this latency, but `slower` s later and wrong while the run is warming up."""
        cold = [record(latency_s + 100.0, right=False)] * warm
        return cold + [record(latency_s + slower * (number // each % 2)) for number in range(STRETCHES * each)]

    players = [Player(name=name, point=None) for name in (CONSTANT, LOAD_AWARE)]
    found = load_contest(0.5, 7.0, players, {CONSTANT: served(3.0), LOAD_AWARE: served(1.0, slower=1)}, 0.1)
    assert (found.load, found.rate) == (0.5, 7.0)
    assert found.gain == pytest.approx(0.15)  # 2 s and 1 s in turns, at 0.1 answers a second
    assert found.high - found.gain == pytest.approx(3.1276 * 0.05 * math.sqrt(8 / 7) / math.sqrt(8), rel=1e-4)
    constant = found.of(CONSTANT)
    assert constant is not None
    assert (constant.latency_s, constant.p95_s, constant.accuracy) == (3.0, 3.0, 1.0)


def test_policies_that_do_the_same_are_told_apart_by_no_rounding() -> None:
    players = [Player(name=name, point=None) for name in (CONSTANT, LOAD_AWARE)]
    one = [record(1.0 + number / 7) for number in range(STRETCHES * 10)]
    other = [record((1.0 + number / 7) * (1 + 1e-16 * number) + 4e-16) for number in range(STRETCHES * 10)]
    assert [each.latency_s for each in one] != [each.latency_s for each in other]
    found = load_contest(0.5, 7.0, players, {CONSTANT: one, LOAD_AWARE: other}, 0.1)
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0)
    assert str(found.gain) == "0.0"


def record(latency_s: float, *, right: bool = True) -> RequestRecord:
    return RequestRecord(
        number=0,
        question=0,
        benchmark="made",
        split=None,
        difficulty=None,
        at_s=0.0,
        queue_s=0.0,
        first_answer_s=None,
        latency_s=latency_s,
        thought_tokens=80,
        completion_tokens=90,
        rows=100,
        probes=0,
        probe_rows=0,
        exit_reason=None,
        threshold=None,
        budget=None,
        right=right,
        error=None,
    )


def test_stretches_are_long_enough_at_the_heaviest_load() -> None:
    for profile in (made_profile(certified_to=3), read_profile(bundled_model() / FILE_NAME)):
        requests = requests_for(profile, safe_constant(profile))
        heaviest = LOADS[-1] * profile.full_thought_rate
        assert requests * (1.0 - WARM) / STRETCHES / heaviest >= STRETCH_S
    assert requests < 1000  # the contest of the bundled profile stays within a minute


@pytest.mark.slow
@pytest.mark.parametrize("requests", [0, LEAST - 1])
def test_too_few_requests_are_refused(held: tuple[Profile, Path], requests: int) -> None:
    with pytest.raises(ValueError, match=f"requests is {requests}, must be at least 10: a run is told by 8 stretches"):
        add_contest(load_chat_model(bundled_model()), bundled_model(), held[1], requests=requests)
