"""A synthetic reasoner: its records have the published figures, and it is served as any recorded model is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.trials import probe_spec
from engine.simulated.machine import VirtualClock
from experiments.calibration.grid import grid
from experiments.simulation.simulation import simulate
from experiments.synthetic.curves import LENGTHS, Curve, Synthetic
from experiments.synthetic.reasoner import CELLS, Reasoner, reasoner
from experiments.synthetic.summary import Told, told
from experiments.trials.experiment import Experiment, read_experiment
from experiments.trials.findings import Findings
from experiments.trials.report import report
from experiments.trials.setting import Setting
from experiments.trials.simulated import simulation
from models.errors import Faults
from models.files.strict_yaml import ConfigError

pytestmark = pytest.mark.slow

CURVES = tuple(Curve)
TEXT = """\
backend: simulated
synthetic: {curve: pessimistic, questions: 100}
max_tokens: 21024
max_batch: 14
seeds: [1]
duration_s: 200
workloads:
  - name: steady
    arrivals: {kind: poisson, rate: 0.1}
policies:
  - {name: full, policy: none}
  - {name: sure, policy: fixed, threshold: 0.95}
  - {name: ours, policy: load-aware, controller: {outer_s: 60}}
baseline: sure
full_thought: full
slo_s: {easy: 30, medium: 60, hard: 150}
"""


def made(curve: Curve) -> Reasoner:
    return reasoner(Synthetic(curve=curve))


def by_benchmark(curve: Curve) -> dict[str, Told]:
    return {one.benchmark: one for one in told(made(curve))}


def experiment(directory: Path, old: str = "", new: str = "") -> Experiment:
    assert old in TEXT
    file = directory / "experiment.yaml"
    file.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    return read_experiment(file)


# --- the published figures, told from records


@pytest.mark.parametrize("curve", CURVES)
def test_replies_have_servegen_s_lengths(curve: Curve) -> None:
    tokens = [one.tokens for one in made(curve).thoughts.traces.values()]
    for share, published in LENGTHS:
        assert np.quantile(tokens, share) == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize("curve", CURVES)
def test_paragraphs_have_some_80_tokens_and_half_of_a_thought_comes_after_its_answer(curve: Curve) -> None:
    long = [one for one in made(curve).thoughts.traces.values() if len(one.probes) >= 20]
    gaps = np.concatenate([np.diff([probe.thought_tokens for probe in one.probes]) for one in long])
    assert gaps.mean() == pytest.approx(80.0, rel=0.05)
    after = []
    for one in long:
        reached = next((probe.thought_tokens for probe in one.probes if probe.right), None)
        if one.right and reached is not None:
            after.append(1.0 - reached / len(one.thought))
    assert len(after) > 100
    assert 0.41 <= np.mean(after) <= 0.52


def test_optimistic_exits_save_as_deer_s_and_cost_no_accuracy() -> None:
    for one in told(made(Curve.OPTIMISTIC)):
        assert 0.19 <= one.saved <= 0.80
        assert -0.005 <= one.early - one.full <= 0.05
        assert one.net < one.saved  # probes cost something


def test_pessimistic_exits_cost_what_replications_lost() -> None:
    found = by_benchmark(Curve.PESSIMISTIC)
    easiest, hardest = found["synthetic MATH500"], found["synthetic AIME25"]
    assert (easiest.full, hardest.full) == pytest.approx((0.911, 0.744), abs=0.003)
    assert easiest.early == pytest.approx(0.799, abs=0.03)
    assert hardest.early == pytest.approx(0.214, abs=0.05)
    between = [one.full - one.early for one in told(made(Curve.PESSIMISTIC))]
    assert between == sorted(between)


@pytest.mark.parametrize("curve", CURVES)
def test_prompts_tell_half_of_the_length_and_harder_classes_take_longer(curve: Curve) -> None:
    profile = made(curve).profile
    assert 0.4 <= profile.explained <= 0.6
    full = [(tokens[0][0], -accuracy[0][0]) for tokens, accuracy in zip(profile.tokens, profile.accuracy, strict=True)]
    assert full == sorted(full)


@pytest.mark.parametrize("curve", CURVES)
def test_a_full_batch_fits_the_cells_beside_the_weights(curve: Curve) -> None:
    plant = made(curve).profile.plant
    assert plant.max_batch * plant.context <= CELLS < (plant.max_batch + 1) * plant.context


def test_the_certificate_holds_overconfident_exits_back() -> None:
    def laxest(curve: Curve) -> float:
        profile = made(curve).profile
        return min(point.threshold or 1.0 for point in profile.points() if point.budget is None)

    assert laxest(Curve.OPTIMISTIC) <= 0.9
    assert laxest(Curve.PESSIMISTIC) >= 0.97


def test_a_seed_makes_the_same_reasoner_again_and_curves_share_lengths() -> None:
    one = Synthetic(curve=Curve.OPTIMISTIC, questions=100)
    first, again, other = reasoner(one), reasoner.__wrapped__(one), reasoner(replace(one, seed=1))
    assert first.profile == again.profile
    assert first.profile.model.weights_sha256 != other.profile.model.weights_sha256
    worse = reasoner(replace(one, curve=Curve.PESSIMISTIC))
    assert [len(trace.thought) for trace in first.thoughts.traces.values()] == [
        len(trace.thought) for trace in worse.thoughts.traces.values()
    ]


@pytest.mark.parametrize(("change", "said"), [({"seed": -1}, "seed is -1"), ({"questions": 99}, "questions is 99")])
def test_what_cannot_be_drawn_is_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Synthetic(curve=Curve.OPTIMISTIC, **change)


# --- served


@pytest.mark.parametrize("budget", [None, 1000])
def test_served_alone_thoughts_end_as_their_replay_says(budget: int | None) -> None:
    known = reasoner(Synthetic(curve=Curve.PESSIMISTIC, questions=100))
    spec = probe_spec(known.vocabulary.thinking, known.vocabulary.stop_tokens)
    numbers = range(120)
    traces = [known.thoughts.traces[number] for number in numbers]
    replayed = grid(traces, known.thoughts.closings, [0.95], [] if budget is None else [budget], spec)
    served = simulate(
        known.recording(known.thoughts.traces),
        np.arange(len(numbers)) * 1000.0,
        list(numbers),
        machine=known.machine,
        clock=VirtualClock(),
        policy=FixedPolicy(Limits(threshold=0.95, budget=budget)),
    )
    assert [one.right for one in served] == replayed.right[:, 1, -1].tolist()
    assert [one.rows for one in served] == replayed.tokens[:, 1, -1].tolist()


def test_an_experiment_is_run_on_it_and_says_so(tmp_path: Path) -> None:
    one = experiment(tmp_path)
    setting = Setting(one)
    setting.check()
    for trial in setting.trials:
        records = simulation(one).play(trial)
        assert len(records) > 5
        assert all(record.error is None and record.benchmark.startswith("synthetic ") for record in records)
    found = Findings(
        experiment=one, latency_weight=1e-3, slo=setting.slo, workloads=(), complete=0, trials=3, origins=()
    )
    assert report("night", found).title == "night: simulated, synthetic 7B reasoner, pessimistic curve, seed 0"
    assert "nothing here was measured" in dict(report("night", found).facts)["synthetic"]


def test_trials_of_another_curve_are_other_trials(tmp_path: Path) -> None:
    said = [
        setting.describe(setting.trials[0])
        for setting in (Setting(experiment(tmp_path)), Setting(experiment(tmp_path, "pessimistic", "optimistic")))
    ]
    assert said[0]["synthetic_sha256"] != said[1]["synthetic_sha256"]
    assert said[0]["profile_sha256"] != said[1]["profile_sha256"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("backend: simulated", "backend: live", "synthetic is .* backend is live: must not be given"),
        ("max_batch", "records: here\nmax_batch", "records is .*, but synthetic is given: must not be"),
        ("curve: pessimistic", "curve: rosy", "must be one of optimistic, pessimistic"),
        ("questions: 100", "questions: 10", "questions is 10, must be at least 100"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_batch: 14", "max_batch: 15", "max_batch is 15, must be at most 14"),
        ("max_tokens: 21024", "max_tokens: 768", "max_tokens is 768, must be 21024"),
    ],
)
def test_what_does_not_fit_the_reasoner_is_refused_before_trials_run(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(Faults, match=said):
        Setting(experiment(tmp_path, old, new)).check()
