"""Simulating a load, from a calibration to records: every policy serves, and what cannot be simulated is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policies.budget import FixedBudget
from controller.policies.definition import PolicySettings
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.policies.none import FullThought
from controller.policies.paper import Paper
from controller.risk.account import RiskStatus
from experiments.calibration.traces import TraceError
from experiments.progress import Advance, Silent
from experiments.simulation.recording import read_recording
from experiments.simulation.run import SimulatedLoad, SimulationSettings, simulate_load
from experiments.simulation.summary import charged, summary
from experiments.workloads import Gamma, Poisson, Workload, WorkloadError
from models.chat_model import load_chat_model
from models.profile.profile import ProfileError, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.calibrations import save_calibration
from tests.support.examples import run_example

FIXED = FixedThreshold()
TWO = Poisson(rate=2.0)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, with records beside it."""
    return save_calibration(tmp_path_factory.mktemp("profiles"))


def served(profile: Path, policy: PolicySettings, workload: Workload = TWO, duration_s: float = 20.0) -> SimulatedLoad:
    return simulate_load(SimulationSettings(workload=workload, duration_s=duration_s, policy=policy, profile=profile))


def test_a_load_is_served_in_virtual_time(profile: Path) -> None:
    found = served(profile, FIXED, duration_s=50.0)
    assert len(found.records) > 50
    assert found.rate == len(found.records) / 50.0
    assert [record.number for record in found.records] == list(range(len(found.records)))
    assert all(record.right and record.probes == 3 for record in found.records)
    for record in found.records:
        assert record.first_answer_s is not None
        assert 0.0 <= record.queue_s < record.first_answer_s <= record.latency_s
    assert served(profile, FIXED, duration_s=50.0).records == found.records


@pytest.mark.parametrize(
    ("policy", "workload", "said"),
    [
        (FullThought(), TWO, "natural 100.0%"),
        (FixedBudget(budget=90), TWO, "budget 100.0%"),
        (Paper(), TWO, "confidence"),
        (LoadAware(), TWO, "confidence"),
        (FixedThreshold(threshold=0.999), Gamma(rate=2.0, cv=4.0), "natural 100.0%"),
    ],
)
def test_every_policy_serves(profile: Path, policy: PolicySettings, workload: Workload, said: str) -> None:
    assert said in summary(served(profile, policy, workload).records)


@pytest.mark.slow
def test_the_bundled_model_is_simulated_without_a_calibration() -> None:
    spec = FixedThreshold(threshold=0.9)
    found = simulate_load(SimulationSettings(workload=Poisson(rate=6.0), duration_s=20.0, policy=spec))
    assert "thoughts ended: confidence" in summary(found.records)


def test_what_an_account_of_risk_has_charged_is_told() -> None:
    def settings(policy: PolicySettings) -> SimulationSettings:
        return SimulationSettings(workload=TWO, duration_s=60.0, policy=policy)

    found = simulate_load(settings(LoadAware(risk=0.02, risk_peak=0.1)))
    assert found.account is not None
    assert found.account.requests == len(found.records)
    assert 0.0 < found.account.mean <= 0.02
    earned = 0.02 * found.account.requests
    assert 0.0 < found.account.left <= min(found.account.most, earned - found.account.spent + 1e-9)
    said = charged(found.account)
    assert said.startswith(f"The account of risk charged {found.account.mean:.2%} a request, of 2.00% that it may; ")
    assert simulate_load(settings(LoadAware(risk=0.02))).account is None


def test_the_reporter_is_told_of_every_request(profile: Path) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.done = 0
            self.stages: list[tuple[str, int]] = []

        @contextmanager
        def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> Iterator[Advance]:
            self.stages.append((label, total))
            yield self.add

        def add(self, more: int, state: str = "", /) -> None:
            self.done += more

    counting = Counting()
    settings = SimulationSettings(workload=TWO, duration_s=10.0, policy=FIXED, profile=profile)
    found = simulate_load(settings, reporter=counting)
    assert counting.stages == [("Requests", len(found.records))]
    assert counting.done == len(found.records)


def test_a_load_without_a_request_is_told(profile: Path) -> None:
    with pytest.raises(WorkloadError, match="no request arrives within 1 s, must be at least 1"):
        served(profile, FIXED, Poisson(rate=1e-9), duration_s=1.0)


@pytest.mark.parametrize(
    ("calibrated", "named", "told"),
    [
        (["a.jsonl", "b.jsonl"], [], "of the questions in a.jsonl, b.jsonl: name these files with --questions"),
        (["a.jsonl", "b.jsonl"], ["a.jsonl"], "of the questions in a.jsonl, b.jsonl: name these files"),
        ([], ["a.jsonl"], "of the questions in the bundled benchmarks: leave --questions out"),
        (["a.jsonl"], ["c.jsonl"], "the records are of other questions: name their files with --questions"),
    ],
)
def test_the_files_of_the_calibration_s_questions_are_told(
    tmp_path: Path, calibrated: list[str], named: list[str], told: str
) -> None:
    file = save_calibration(tmp_path, files=calibrated)
    paths = [tmp_path / name for name in named]
    for path in paths:
        path.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(TraceError, match=told):
        read_recording(load_chat_model(bundled_model()), bundled_model(), file, files=paths)


def test_a_missing_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="`laser calibrate` makes one"):
        served(tmp_path / "none.json", FIXED)


def test_a_profile_that_does_not_say_which_questions_were_asked_is_refused(profile: Path, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_profile(file, replace(read_profile(profile), provenance={"options": {"count": 2}}))
    with pytest.raises(ProfileError, match=r"provenance\.options\.seed is None, must be a whole number"):
        served(file, FIXED)


def test_an_account_s_charges_savings_and_top_ups_are_told() -> None:
    status = RiskStatus(risk=0.02, peak=0.1, requests=400, spent=6.0, left=1.5, most=2.0, refused=3, topped_up=1)
    assert charged(status) == (
        "The account of risk charged 1.50% a request, of 2.00% that it may; 1.5 of 2.0 are left to be spent, and 3 "
        "requests had to be held to stricter limits. Running thoughts were charged again, for laxer limits, 1 time."
    )


@pytest.mark.slow
def test_the_example_works() -> None:
    run_example(simulate_load)
