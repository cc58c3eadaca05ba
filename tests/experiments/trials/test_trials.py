"""Experiments: what their files may say, that policies meet the same requests, and what is made of the results."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from controller.policies.fixed import FixedThreshold
from controller.policy import Limits
from experiments.trials.experiment import (
    Backend,
    ClassSlo,
    Experiment,
    Hindsight,
    NamedPolicy,
    NamedWorkload,
    RateUnit,
    read_experiment,
)
from experiments.trials.findings import best
from experiments.trials.live import server_config
from experiments.trials.outcome import outcome
from experiments.trials.paired import paired
from experiments.trials.trial import described, requests, scaled, trials
from experiments.workloads import Mmpp, Poisson, Trace
from laser.server.config import load_config
from models.files.strict_yaml import ConfigError
from tests.support.request_records import record
from tests.support.toy_policy import Halving

OWN = "tests.support.toy_policy:Halving"
SLO = ClassSlo(easy=1.0, medium=2.0, hard=3.0)
TEXT = """\
backend: live
seeds: [1, 2]
duration_s: 30
workloads:
  - name: steady
    arrivals: {kind: poisson, rate: 4}
  - name: bursty
    arrivals: {kind: mmpp, rate: 4, burst: 8, calm_s: 9, burst_s: 3}
policies:
  - {name: full, policy: none}
  - {name: sure, policy: fixed, threshold: 0.95}
  - {name: ours, policy: load-aware, controller: {outer_s: 2}}
baseline: sure
full_thought: full
slo_s: {easy: 1, medium: 2, hard: 3}
"""


def written(directory: Path, text: str = TEXT) -> Path:
    file = directory / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    return file


# --- the file


def test_a_file_names_workloads_policies_and_seeds(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path))
    assert found.workloads[1].arrivals == Mmpp(rate=4.0, burst=8.0, calm_s=9.0, burst_s=3.0)
    assert found.policies[1].policy == FixedThreshold(threshold=0.95)
    assert found.policies[2].controller.outer_s == 2.0
    assert (found.backend, found.rates, found.warmup_s) == (Backend.LIVE, RateUnit.REQUESTS, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seeds: [1, 2]", "seeds: []", r"yaml:2:1: seeds are \[\], must be at least one"),
        ("seeds: [1, 2]", "seed: [1, 2]", r"yaml:2:\d+: unknown key `seed`; did you mean `seeds`?"),
        (
            "kind: poisson",
            "kind: possion",
            r"yaml:6:\d+: `workloads\[0\]\.arrivals\.kind` is 'possion', must be one of p",
        ),
        (
            "{kind: poisson, rate: 4}",
            "{kind: poisson, rate: -4}",
            r"yaml:6:\d+: `workloads\[0\]\.arrivals`: rate is -4\.0",
        ),
        (
            "calm_s: 9",
            "clam_s: 9",
            r"yaml:8:\d+: unknown key `workloads\[1\]\.arrivals\.clam_s`; did you mean `calm_s`",
        ),
        (
            "policy: none",
            "policy: never",
            r"yaml:10:\d+: `policies\[0\]\.policy` is 'never', must be one of load-aware, ",
        ),
        (
            "policy: none",
            "policy: auto",
            r"yaml:10:\d+: `policies\[0\]\.policy` is 'auto', which only a server can resolve, must be one of load-a",
        ),
        (
            "threshold: 0.95",
            "threshold: 1.5",
            r"yaml:11:\d+: `policies\[1\]\.policy`: threshold is 1\.5, must lie in \(0, 1\]",
        ),
        (
            "policy: fixed, threshold: 0.95",
            "policy: margin, margin: -1",
            r"yaml:11:\d+: `policies\[1\]\.policy`: margin is -1\.0, must be finite and at least 0",
        ),
        ("threshold: 0.95", "oracle: true", r"yaml:11:\d+: policy 'sure' is an oracle, which backend live cannot have"),
        (
            "outer_s: 2",
            "outer: 2",
            r"yaml:12:\d+: unknown key `policies\[2\]\.controller\.outer`; did you mean `outer_s`?",
        ),
        ("name: ours", "name: sure", r"yaml:9:1: policies has 'sure' twice, names must differ"),
        (
            "baseline: sure",
            "baseline: unsure",
            r"yaml:13:1: baseline is 'unsure', must be one of policies: full, sure, ours; did you mean `sure`",
        ),
        ("policies:\n", "polices:\n", r"yaml:9:1: unknown key `polices`; did you mean `policies`"),
        (
            "full_thought: full\n",
            "full_thought: fool\n",
            "yaml:14:1: full_thought is 'fool', must be one of policies",
        ),
        ("medium: 2", "medium: 0", r"yaml:15:\d+: `slo_s`: medium is 0\.0, must be finite and above 0"),
        (
            "duration_s: 30",
            "duration_s: 30\nwarmup_s: 30",
            r"warmup_s is 30\.0, must be at least 0 and below duration_s",
        ),
        (
            "baseline: sure",
            "hindsight: {thresholds: [1.5]}\nbaseline: sure",
            r"yaml:13:\d+: `hindsight`: threshold is 1\.5, must lie in \(0, 1\]",
        ),
        (
            "baseline: sure",
            "hindsight: {thresholds: [0.9, 0.90]}\nbaseline: sure",
            r"yaml:9:1: policies has 'threshold 0.9' twice, names must differ",
        ),
    ],
)
def test_what_cannot_be_is_told_with_file_line_and_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(ConfigError, match=told):
        read_experiment(written(tmp_path, TEXT.replace(old, new)))


def test_a_margin_cannot_be_simulated_since_none_was_recorded(tmp_path: Path) -> None:
    margin = TEXT.replace("policy: fixed, threshold: 0.95", "policy: margin, margin: 2")
    assert read_experiment(written(tmp_path, margin)).policies[1].limits == Limits(margin=2.0)
    simulated = margin.replace("backend: live", "backend: simulated\nrecords: some.jsonl")
    with pytest.raises(ConfigError, match=r"yaml:12:\d+: policy 'sure' is margin, of which nothing was recorded"):
        read_experiment(written(tmp_path, simulated))


def test_a_policy_s_settings_stand_in_its_mapping_or_beside_it_and_are_described_alike(tmp_path: Path) -> None:
    flat = read_experiment(written(tmp_path)).policies[1]
    nested = TEXT.replace("policy: fixed, threshold: 0.95", "policy: {kind: fixed, threshold: 0.95}")
    assert read_experiment(written(tmp_path, nested)).policies[1] == flat
    told = described(flat)
    del told["controller"]
    assert told == {
        "name": "sure", "policy": "fixed", "threshold": 0.95, "budget": None, "agree": None, "margin": None,
        "every": None, "risk": None, "shortest_first": False, "oracle": False,
    }  # fmt: skip


def test_an_own_policy_takes_part_and_reaches_the_server_under_its_name(tmp_path: Path) -> None:
    own = TEXT.replace("policy: fixed, threshold: 0.95", f"policy: {{kind: '{OWN}', above: 2}}")
    experiment = read_experiment(written(tmp_path, own))
    policy = experiment.policies[1]
    assert policy.policy == Halving(above=2.0)
    assert (policy.kind, policy.constant, policy.needs_profile) == (OWN, False, False)
    assert {"policy": OWN, "budget": 40, "above": 2.0}.items() <= described(policy).items()
    config = load_config(server_config(experiment, policy, tmp_path), {})
    assert config.policy == policy.policy


# --- trials


def test_policies_meet_the_same_requests_and_seeds_and_workloads_others(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    drawn: dict[tuple[str, int], list[tuple[list[float], list[int]]]] = {}
    for trial in trials(experiment, None):
        one = requests(experiment, trial, pool=50)
        drawn.setdefault((trial.workload.name, trial.seed), []).append((one.times.tolist(), one.questions.tolist()))
    assert len(drawn) == 4
    assert all(len(by_policy) == 3 and by_policy[0] == by_policy[1] == by_policy[2] for by_policy in drawn.values())
    for (_, one), (_, other) in itertools.combinations(drawn.items(), 2):
        assert one[0] != other[0]


def test_no_question_comes_again_before_all_have_come(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    trial = next(iter(trials(experiment, None)))
    places = requests(experiment, trial, pool=20).questions.tolist()
    assert len(places) > 60
    for start in range(0, len(places) - 20, 20):
        assert sorted(places[start : start + 20]) == list(range(20))


def test_adding_a_policy_or_a_workload_changes_no_other_trial_s_requests(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    swapped = dataclasses.replace(experiment, workloads=experiment.workloads[::-1], policies=experiment.policies[::-1])

    def by_slug(one: Experiment) -> dict[str, list[float]]:
        return {trial.slug: requests(one, trial, pool=50).times.tolist() for trial in trials(one, None)}

    assert by_slug(experiment) == by_slug(swapped)


def test_rates_may_be_shares_of_the_capacity(tmp_path: Path) -> None:
    calm = NamedWorkload(name="calm", arrivals=Poisson(rate=0.5))
    assert scaled(calm, RateUnit.CAPACITY, 12.0).arrivals == Poisson(rate=6.0)
    assert scaled(calm, RateUnit.REQUESTS, None) == calm
    with pytest.raises(ValueError, match="shares of the capacity, which needs a profile"):
        scaled(calm, RateUnit.CAPACITY, None)
    file = tmp_path / "times.jsonl"
    file.write_text('{"timestamp": 0}\n{"timestamp": 1}\n')
    seen = NamedWorkload(name="seen", arrivals=Trace(path=file))
    with pytest.raises(ValueError, match="workload 'seen' has no rate"):
        dataclasses.replace(read_experiment(written(tmp_path)), workloads=(seen,), rates=RateUnit.CAPACITY)


def test_hindsight_runs_every_constant_setting_once(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path))
    wide = dataclasses.replace(experiment, hindsight=Hindsight(thresholds=(0.95, 0.8), budgets=(100,)))
    added = wide.all_policies[len(experiment.policies) :]
    limits = [one.limits for one in added if one.limits is not None]
    assert {(one.threshold, one.budget) for one in limits} == {(None, 100), (0.8, None), (0.8, 100), (0.95, 100)}
    assert all(one.constant for one in added)  # 0.95 alone is named already


def test_the_best_constant_in_hindsight_has_the_highest_utility() -> None:
    candidates = [NamedPolicy(name=str(t), policy=FixedThreshold(threshold=t)) for t in (0.5, 0.8, 0.9)]

    def came_to(share: float, latency_s: float):  # type: ignore[no-untyped-def]
        records = [record(n, latency_s, right=n < 100 * share) for n in range(100)]
        return outcome(records, SLO, seconds=10.0, latency_weight=0.01)

    outcomes = {"0.5": came_to(0.7, 1.0), "0.8": came_to(0.95, 3.0), "0.9": came_to(0.97, 9.0)}
    assert best(candidates, outcomes) == "0.8"  # .95 - .03 against .97 - .09 and .70 - .01
    assert best(candidates, {}) is None


# --- outcomes and differences


def test_outcomes_count_what_was_served_and_what_failed() -> None:
    records = [record(n, 0.5 + n, right=n != 2) for n in range(4)]
    records.append(record(4, 0.0, right=None, error="ReplyError: 500", first_answer_s=None, rows=0))
    found = outcome(records, SLO, seconds=10.0, latency_weight=0.01)
    assert (found.requests, found.failed) == (5, 1)
    assert found.latency.mean == pytest.approx(2.0)
    assert found.accuracy.share == pytest.approx(3 / 5)  # one wrong, one failed
    assert found.in_time.share == pytest.approx(3 / 5)  # 0.5 ≤ 1, 1.5 ≤ 2, 2.5 ≤ 3; 3.5 > 3 and one failed
    assert found.goodput == pytest.approx(0.3)
    assert found.tokens == 120.0
    assert found.utility == pytest.approx(3 / 5 - 0.01 * 2.0)
    assert found.benchmarks["recall"].count == 3
    with pytest.raises(ValueError, match="all of them failed, the first with ReplyError: 500"):
        outcome(records[4:], SLO, seconds=10.0, latency_weight=0.01)


def test_a_policy_changes_nothing_against_itself() -> None:
    run = [[record(n, 1.0 + n % 5) for n in range(60)]]
    found = paired(run, run, SLO, latency_weight=0.01, questions=range(60), rng=np.random.default_rng(0))
    for name in ("latency", "in_time", "accuracy", "tokens", "utility"):
        change = getattr(found, name)
        assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)


def test_paired_differences_find_what_was_changed() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(size=400)
    before = [
        [record(n, float(s), right=chance[n] < 0.9) for n, s in enumerate(rng.exponential(2.0, 400))] for _ in "ab"
    ]
    now = [
        [
            dataclasses.replace(one, latency_s=0.8 * one.latency_s, rows=90, right=chance[one.number] < 0.95)
            for one in run
        ]
        for run in before
    ]
    gained = 100.0 * float(np.mean(chance < 0.95) - np.mean(chance < 0.9))
    found = paired(before, now, SLO, latency_weight=0.01, questions=range(800), rng=rng)
    mean = np.mean([one.latency_s for run in before for one in run])
    assert found.latency.value == pytest.approx(-0.2)
    assert (found.latency.low, found.latency.high) == pytest.approx((-0.2, -0.2))
    assert found.tokens.value == pytest.approx(-0.25)
    assert found.accuracy.value == pytest.approx(gained)
    assert 0.0 < found.accuracy.low < gained < found.accuracy.high < 2.0 * gained
    assert found.utility.value == pytest.approx(gained + 100 * 0.01 * 0.2 * mean)
    assert found.in_time.value > 0.0


def test_the_interval_of_a_difference_knows_that_neighbours_wait_for_one_another() -> None:
    """Ten jams of forty requests each tell ten things, not four hundred."""
    rng = np.random.default_rng(2)
    jams = np.repeat(rng.exponential(3.0, 10), 40)
    singly = rng.permutation(jams)
    calm = [[record(n, 1.0) for n in range(400)]]

    def width(latencies: np.ndarray) -> float:
        run = [[record(n, 1.0 + float(extra)) for n, extra in enumerate(latencies)]]
        rng = np.random.default_rng(0)
        change = paired(calm, run, SLO, latency_weight=0.01, questions=range(400), rng=rng).latency
        return change.high - change.low

    assert width(jams) > 4.0 * width(singly)


def test_what_a_question_tells_again_makes_no_interval_narrower() -> None:
    chance = np.random.default_rng(3).uniform(size=50)
    before = [[record(n, 1.0, right=chance[n % 50] < 0.7) for n in range(500)]]
    now = [[record(n, 1.0, right=chance[n % 50] < 0.8) for n in range(500)]]

    def width(questions: Sequence[int]) -> float:
        rng = np.random.default_rng(0)
        change = paired(before, now, SLO, latency_weight=0.01, questions=questions, rng=rng)
        assert change.utility.high - change.utility.low == pytest.approx(change.accuracy.high - change.accuracy.low)
        return change.accuracy.high - change.accuracy.low

    assert width([n % 50 for n in range(500)]) > 2.5 * width(range(500))


def test_only_runs_of_the_same_requests_are_compared() -> None:
    run = [record(n) for n in range(5)]
    with pytest.raises(ValueError, match="runs of 5 and 4 requests are compared"):
        paired([run], [run[:4]], SLO, latency_weight=0.0, questions=range(5), rng=np.random.default_rng(0))
