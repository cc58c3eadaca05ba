"""Benchmarks told apart: no family of questions pays for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.policies.definition import certified_at
from controller.policies.load_aware import LoadAware
from controller.policies.restricted import with_levers, within_account, within_risk, worst_benchmark
from controller.policy import Limits
from controller.risk.account import RiskSettings
from controller.risk.keeper import RiskKeeper
from experiments.calibration.summary import worst_of
from models.profile.certificate import upper_bound
from models.profile.harm import ALIVE_SHARE, OWN_BOUNDS, Harm, simultaneous
from models.profile.lever import Lever
from models.profile.levers.benchmarks import BenchmarksByClass, ByBenchmark, by_benchmark
from models.profile.profile import Profile, ProfileError, checksum, profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.account_profile import PEAK, RISK, account_profile
from tests.support.analysis_profile import CLASSES, made_profile
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


FAMILIES = ("a", "b", "c")
SPOILT = np.array([[0.01, 0.01, 0.01], [0.01, 0.01, 0.01], [0.01, 0.08, 0.01]])  # [class, family]: one, in hard alone


def of_cells(counts: np.ndarray, harmed: np.ndarray) -> ByBenchmark:
    """Counts [class, family] and harmed questions [class, family, threshold, budget], with their sums over classes."""
    cells = BenchmarksByClass(counts=tuple(map(tuple, counts.tolist())), harmed=tuples(harmed))
    together = tuple(counts.sum(axis=0).tolist())
    return ByBenchmark(names=FAMILIES, counts=together, harmed=tuples(harmed.sum(axis=0)), by_class=cells)


def tuples(table: np.ndarray) -> tuple[Any, ...]:
    return tuple(map(tuples, table)) if table.ndim > 1 else tuple(table.tolist())


def by_class(profile: Profile, shares: np.ndarray, counts: np.ndarray | int = OWN_BOUNDS) -> Profile:
    """The profile where thresholds from the third on harm `shares` [class, family] of the questions."""
    counts = np.broadcast_to(counts, shares.shape)
    harmed = np.zeros((*shares.shape, *np.shape(profile.certificate.harmed)), dtype=np.int64)
    harmed[:, :, 2:] = np.round(shares * counts).astype(np.int64)[:, :, None, None]
    return replace(profile, benchmarks=of_cells(counts, harmed))


def pooled(profile: Profile) -> Profile:
    """The same profile as an earlier release calibrated it: its benchmarks are not counted by class."""
    assert profile.benchmarks is not None
    return replace(profile, benchmarks=replace(profile.benchmarks, by_class=None))


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


def test_with_an_account_no_running_thought_is_loosened_where_the_worst_benchmark_counts() -> None:
    """How few thoughts of each benchmark run on was not counted, so nobody knows what a top-up must cost."""
    pooled = account_profile(1000)
    strict = worst_benchmark(apart(pooled, (0.01, 0.02)))
    lax, tight = Limits(threshold=0.8), Limits(threshold=0.9)
    for profile, loosened in ((pooled, True), (strict, False)):
        made = RiskKeeper(profile, RiskSettings(), time_s=lambda: 0.0)
        while made.account.left < 1.0:
            made.account.serve(made.account.admit(0.0, "", 0.0), 0.0)
        for limits in (tight, lax):
            named: dict[str | None, Limits] = dict.fromkeys((*CLASSES, None), limits)
            made.expect(named, named)
            if limits is tight:
                grant = made.admit("easy", "", pays=True)
        assert (made.within(grant, lax, 50) == lax) == loosened


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


def test_harmed_questions_are_counted_by_class_and_benchmark() -> None:
    rng = np.random.default_rng(2)
    harmed, member = nested(rng.random((60, 4, 3)) < 0.05), np.arange(60) % 2 == np.array([[0], [1]])
    found = by_benchmark(harmed, ["b", "a", "b"] * 20, member)
    assert found.by_class is not None
    assert found.by_class.counts == ((10, 20), (10, 20))
    assert np.array_equal(found.by_class.harmed[1][0], harmed[1::6].sum(axis=0))
    assert replace(found, by_class=None) == by_benchmark(harmed, ["b", "a", "b"] * 20)


def test_a_family_that_is_harmed_in_one_class_ends_what_its_other_classes_would_pay_for() -> None:
    profile = by_class(made_profile(), SPOILT)
    before, strict = worst_benchmark(pooled(profile)), worst_benchmark(profile)
    assert before.points() == profile.points()  # over all classes 3.3 % of the family, 2.2 % of all
    assert strict.points() == tuple(one for one in profile.points() if one.threshold in profile.thresholds[:2])
    assert profile.benchmarks is not None
    classes = profile.benchmarks.of_classes()
    assert [one is not None and bool(np.all(one.certified(0.05, 0.05))) for one in classes] == [True, True, False]
    fair = by_class(made_profile(), np.full((3, 3), 0.01))
    assert worst_benchmark(fair).points() == fair.points()


def test_below_4000_questions_of_a_benchmark_in_a_class_it_has_no_bounds_there() -> None:
    few = by_class(made_profile(), SPOILT, OWN_BOUNDS - 1)
    assert worst_benchmark(few).certificate == worst_benchmark(pooled(few)).certificate
    counts = np.full((3, 3), OWN_BOUNDS)
    counts[2, 1] = OWN_BOUNDS - 1
    one = by_class(made_profile(), SPOILT, counts)
    assert one.benchmarks is not None
    assert [known and known.names for known in one.benchmarks.of_classes()] == [FAMILIES, FAMILIES, ("a", "c")]
    assert worst_benchmark(one).points() == one.points()
    counts[2] = 1, OWN_BOUNDS, 0  # a stray question of another family lets none of them pay for this one
    assert len(worst_benchmark(by_class(made_profile(), SPOILT, counts)).points()) < len(one.points())


def test_charges_by_class_are_at_least_each_family_s_and_no_other_class_pays() -> None:
    plain = account_profile(len(FAMILIES) * OWN_BOUNDS)
    profile, fair = by_class(plain, SPOILT), by_class(plain, np.full((3, 3), 0.01))
    found, other, without = (one.harm for one in (worst_benchmark(profile), worst_benchmark(fair), plain))
    assert found is not None
    assert other is not None
    assert without is not None
    assert found.own
    assert np.all(found.bounds >= without.bounds)
    assert profile.benchmarks is not None
    assert profile.benchmarks.by_class is not None
    share = (1.0 - ALIVE_SHARE) * profile.certificate.delta / 9
    cells = np.array(profile.benchmarks.by_class.harmed)
    for d, b in np.ndindex(3, 3):
        assert np.all(found.bounds[d] >= simultaneous(cells[d, b][None], OWN_BOUNDS, share))
    assert np.array_equal(found.bounds[:2], other.bounds[:2])
    assert np.all(found.bounds[2, 0, 2:] > 0.08)
    charges = worst_benchmark(profile).tables().charges
    assert charges is not None
    assert charges.own
    assert charges.of.max() <= profile.certificate.epsilon


@pytest.mark.parametrize(("stray", "own"), [(0, True), (1, False), (OWN_BOUNDS - 1, False), (OWN_BOUNDS, True)])
def test_where_a_benchmark_has_too_few_questions_in_a_class_one_corner_counts_for_all(stray: int, own: bool) -> None:
    """A bound over all classes says nothing of one; a benchmark that does not occur in a class needs none there."""
    plain, counts = account_profile(len(FAMILIES) * OWN_BOUNDS), np.full((3, 3), OWN_BOUNDS)
    counts[1, 0] = stray
    found = worst_benchmark(by_class(plain, SPOILT, counts)).harm
    assert plain.harm is not None
    assert found is not None
    assert (plain.harm.own, found.own) == (True, own)
    assert np.all(found.bounds == found.bounds[0]) != own
    assert np.all(found.bounds >= plain.harm.bounds)


def test_with_fewer_questions_charges_are_those_of_before() -> None:
    profile = by_class(account_profile(1000), SPOILT, 333)
    charged, before = (worst_benchmark(one).tables().charges for one in (profile, pooled(profile)))
    assert charged is not None
    assert before is not None
    assert np.array_equal(charged.of, before.of)


def test_a_class_s_family_harmed_beyond_the_risk_is_certified_no_more_often_than_agreed() -> None:
    """At the limit of the risk, in one family of one class; 1,000 draws, of which 5 % may go wrong."""
    rng, epsilon, delta, wrong = np.random.default_rng(5), 0.05, 0.05, 0
    truth = np.array([[0.001, 0.01, 0.02], [0.01, 0.01, 0.03], [0.02, epsilon + 1e-9, 0.03]])
    counts = np.full((3, 3), OWN_BOUNDS)
    for _ in range(1000):
        strict = rng.binomial(counts, 0.5 * truth)
        lax = strict + rng.binomial(counts - strict, 0.5 * truth / (1.0 - 0.5 * truth))
        drawn = np.stack([np.zeros_like(strict), strict, lax], axis=-1)[..., None]
        wrong += bool(of_cells(counts, drawn).certified(epsilon, delta)[2, 0])
    assert wrong <= 1000 * delta + 3.0 * np.sqrt(1000 * delta * (1.0 - delta))
    assert wrong > 0  # the test has no more power than it may


def test_all_charges_of_all_classes_hold_for_every_family_as_often_as_promised() -> None:
    rng, delta, missed = np.random.default_rng(6), 0.2, 0
    truth = np.array([[0.001, 0.01, 0.02], [0.04, 0.04, 0.04], [0.02, 0.05, 0.03]])
    counts, nothing = np.full((3, 3), OWN_BOUNDS), np.zeros((3, 1, 3, 1))
    free = Harm(bounds=nothing, own=True, ages=(), alive=np.zeros((3, 1, 1, 0)))
    for _ in range(300):
        strict = rng.binomial(counts, 0.5 * truth)
        lax = strict + rng.binomial(counts - strict, 0.5 * truth / (1.0 - 0.5 * truth))
        drawn = np.stack([np.zeros_like(strict), strict, lax], axis=-1)[..., None]
        bounds = of_cells(counts, drawn).charging(free, delta).bounds[:, 0, :, 0]  # [class, threshold]
        missed += bool(np.any(bounds[:, 2] < truth.max(axis=1)) or np.any(bounds[:, 1] < 0.5 * truth.max(axis=1)))
    assert 0 < missed <= 300 * delta


def test_a_profile_keeps_its_benchmarks_by_class_and_older_ones_are_written_as_before(tmp_path: Path) -> None:
    profile = by_class(made_profile(), SPOILT)
    write_profile(tmp_path / "new.json", profile)
    assert read_profile(tmp_path / "new.json") == profile
    write_profile(tmp_path / "old.json", pooled(profile))
    assert "by_class" not in (tmp_path / "old.json").read_text()
    assert read_profile(tmp_path / "old.json") == pooled(profile)
    assert profile.benchmarks is not None
    with pytest.raises(ValueError, match=r"by_class.counts must add up to counts"):
        replace(profile.benchmarks, counts=(1, 2, 3))
    with pytest.raises(ValueError, match=r"benchmarks.by_class has 2 classes, must have 3"):
        by_class(made_profile(), SPOILT[:2])


def test_the_bundled_profile_has_too_few_questions_of_each_class_to_change_anything() -> None:
    directory = profile_of(bundled_model())
    profile = read_profile(directory)
    assert f'"sha256": "{checksum(profile)}"' in directory.read_text(encoding="utf-8")  # as it was written
    certificate, seen = profile.certificate, profile.certificate.evidence
    assert seen is not None
    assert seen.by_class is not None
    assert max(seen.by_class.counts) < OWN_BOUNDS
    cells = BenchmarksByClass(
        counts=tuple((count,) for count in seen.by_class.counts),
        harmed=tuple((table,) for table in seen.by_class.harmed),
    )
    all_ = ByBenchmark(names=("all",), counts=(certificate.count,), harmed=(certificate.harmed,), by_class=cells)
    assert all_.of_classes() == (None, None, None)
    told = replace(profile, benchmarks=all_)
    for one in (told, within_risk(told, 0.05), within_account(told, RISK, PEAK)):
        kept, before = worst_benchmark(one), worst_benchmark(pooled(one))
        assert kept.certificate == before.certificate == one.certificate
        assert np.array_equal(kept.tables().tokens, one.tables().tokens)


def test_the_summary_tells_whether_bounds_are_by_class() -> None:
    def said(profile: Profile) -> str:
        return " ".join(" ".join(worst_of(profile)).split())

    old = said(pooled(by_class(made_profile(), SPOILT)))
    assert "Within a class none is bounded: benchmarks were not counted by class" in old
    every = said(by_class(made_profile(), SPOILT))
    assert (
        "Within the classes every benchmark is bounded, too. Within the pooled range in easy a is harmed most" in every
    )
    assert "in hard b is harmed most, at confidence 0.95: in 320 of 4,000 questions" in every
    counts = np.full((3, 3), OWN_BOUNDS)
    counts[1] = 12, 3999, 0
    some = said(by_class(made_profile(), SPOILT, counts))
    assert "Within the classes bounded, too, are 6 of 8, which takes 4,000 questions of it there" in some
    assert "the fewest are 12 of a in medium" in some
    none = said(by_class(made_profile(), SPOILT, 500))
    assert "Within a class none is bounded, which takes 4,000 questions of it there: the fewest are 500 of a in" in none
