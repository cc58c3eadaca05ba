"""Benchmarks told apart: no family of questions pays for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policies.definition import certified_at
from controller.policies.load_aware import LoadAware
from controller.policies.restricted import with_levers, worst_benchmark
from experiments.calibration.summary import worst_of
from models.profile.certificate import upper_bound
from models.profile.lever import Lever
from models.profile.levers.benchmarks import ByBenchmark, by_benchmark
from models.profile.profile import Profile, ProfileError, read_profile, write_profile
from tests.support.account_profile import account_profile
from tests.support.analysis_profile import made_profile
from tests.support.give_up_profile import giving_up_profile


def nested(harmed: np.ndarray) -> np.ndarray:
    """A laxer corner harms whatever a stricter one does; the full thought harms nothing."""
    harmed = np.logical_or.accumulate(np.logical_or.accumulate(harmed, axis=1), axis=2)
    harmed[:, 0, 0] = False
    return harmed


def apart(profile: Profile, shares: tuple[float, ...], each: int = 1000) -> Profile:
    """The profile where thresholds from the third on harm `shares` of the benchmarks' questions."""
    shape = np.shape(profile.certificate.harmed)
    harmed = np.zeros((each * len(shares), *shape), dtype=np.bool_)
    for b, share in enumerate(shares):
        harmed[b * each : b * each + round(share * each), 2:] = True
    labels = [f"family {b}" for b in range(len(shares)) for _ in range(each)]
    return replace(profile, benchmarks=by_benchmark(nested(harmed), labels))


def test_harmed_questions_are_counted_by_benchmark() -> None:
    rng = np.random.default_rng(1)
    harmed = nested(rng.random((60, 4, 3)) < 0.05)
    found = by_benchmark(harmed, ["b", "a", "b"] * 20)
    assert found.names == ("a", "b")
    assert found.counts == (20, 40)
    assert np.array(found.harmed).sum(axis=0).tolist() == harmed.sum(axis=0).tolist()
    assert found.harmed[0] == tuple(map(tuple, harmed[1::3].sum(axis=0).tolist()))


def test_the_worst_bound_is_that_of_the_benchmark_harmed_most() -> None:
    found = ByBenchmark(names=("a", "b"), counts=(500, 2000), harmed=(((0, 0), (3, 9)), ((0, 0), (2, 40))))
    worst = found.worst(0.05)
    assert worst[0, 0] == 0.0
    assert worst[1, 0] == pytest.approx(upper_bound(3, 500, 0.025))
    assert worst[1, 1] == pytest.approx(max(upper_bound(9, 500, 0.025), upper_bound(40, 2000, 0.025)))
    assert np.all(found.charges(0.05)[1] >= worst[1])


def test_a_family_that_is_harmed_more_than_the_risk_ends_what_the_mix_allows() -> None:
    profile = apart(made_profile(), (0.0, 0.0, 0.0, 0.08))
    assert profile.certificate.epsilon == 0.05
    strict = worst_benchmark(profile)
    assert len(strict.points()) < len(profile.points())
    assert {point.threshold for point in strict.points()} == set(profile.thresholds[:2])
    assert set(strict.points()) <= set(profile.points())
    fair = apart(made_profile(), (0.01, 0.01, 0.01, 0.01))
    assert worst_benchmark(fair).points() == fair.points()


def test_a_family_harmed_beyond_the_risk_is_certified_no_more_often_than_agreed() -> None:
    """At the limit of the risk, in one family of five; 1,000 draws, of which 5 % may go wrong."""
    rng, epsilon, delta, wrong = np.random.default_rng(3), 0.05, 0.05, 0
    for _ in range(1000):
        harmed = [int(rng.binomial(400, share)) for share in (0.001, 0.01, 0.01, 0.02, epsilon + 1e-9)]
        found = ByBenchmark(names=tuple("abcde"), counts=(400,) * 5, harmed=tuple(((0,), (count,)) for count in harmed))
        wrong += bool(found.certified(epsilon, delta)[1, 0])
    assert wrong <= 1000 * delta + 3.0 * np.sqrt(1000 * delta * (1.0 - delta))
    assert wrong > 0  # the test has no more power than it may


def test_with_an_account_requests_are_charged_for_the_worst_benchmark() -> None:
    profile = apart(account_profile(1000), (0.0, 0.0, 0.0, 0.06))
    pooled, worst = profile.tables().charges, worst_benchmark(profile).tables()
    assert pooled is not None
    assert worst.charges is not None
    for k, point in enumerate(worst.points):
        before = profile.tables().points.index(point)
        assert np.all(worst.charges.of[:, k] >= pooled.of[:, before])
        assert worst.charges.of[:, k].max() <= profile.certificate.epsilon
    assert worst.charges.of.sum() > pooled.of[:, [profile.tables().points.index(one) for one in worst.points]].sum()


def test_it_is_a_policy_s_choice_and_off_by_default() -> None:
    profile = apart(made_profile(), (0.0, 0.0, 0.0, 0.08))
    assert not LoadAware().worst_benchmark
    assert certified_at(profile, None, None) == profile
    assert certified_at(profile, None, None, worst=True) == worst_benchmark(profile)


def test_what_was_not_told_apart_is_refused() -> None:
    with pytest.raises(ProfileError, match="does not tell its benchmarks apart: run `laser calibrate` again"):
        worst_benchmark(made_profile())
    with pytest.raises(ProfileError, match="was not counted by benchmark"):
        worst_benchmark(with_levers(apart(giving_up_profile(), (0.01, 0.01)), {Lever.GIVE_UP}))
    with pytest.raises(ValueError, match="must have as many, and at least 1"):
        ByBenchmark(names=(), counts=(), harmed=())


def test_a_profile_keeps_its_benchmarks_and_older_ones_have_none(tmp_path: Path) -> None:
    profile = apart(made_profile(), (0.01, 0.02))
    write_profile(tmp_path / "new.json", profile)
    assert read_profile(tmp_path / "new.json") == profile
    write_profile(tmp_path / "old.json", made_profile())
    assert "benchmarks" not in (tmp_path / "old.json").read_text()
    assert read_profile(tmp_path / "old.json").benchmarks is None
    chosen = worst_benchmark(profile)
    write_profile(tmp_path / "chosen.json", chosen)
    assert not read_profile(tmp_path / "chosen.json").worst_benchmark


def test_the_summary_tells_who_is_harmed_most() -> None:
    said = " ".join(" ".join(worst_of(apart(made_profile(), (0.0, 0.03, 0.01)))).split())
    assert "Within the range family 1 is harmed most, at confidence" in said
    assert "in 30 of 1,000 questions, a risk of at most" in said
    assert worst_of(made_profile()) == []
