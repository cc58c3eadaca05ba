"""Experiments with a model, questions and traces of one's own: what their files may say, leave out, and are told."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.policies.restricted import within_one_corner
from controller.settings import ControllerSettings
from engine.registry import engine_options
from experiments.trials.experiment import Backend, ClassSlo, QuestionSource, read_experiment
from experiments.trials.findings import Findings, asked, findings
from experiments.trials.live import server_config
from experiments.trials.paired import Estimate, Paired
from experiments.trials.report import report, write
from experiments.trials.running import calibrated_engine, served
from experiments.trials.setting import Setting
from experiments.trials.speed import machine
from experiments.trials.store import Store
from experiments.trials.tuning import Tried, Tuned, Worth, summary
from laser.cli.main import main
from laser.server.config import load_config
from models.errors import Faults
from models.files.strict_yaml import ConfigError
from models.reasoner import bundled_model
from tests.experiments.trials.test_trials import record

SHORTEST = """\
seeds: [1]
duration_s: 30
workloads:
  - {name: steady, arrivals: {kind: poisson, rate: 1}}
policies:
  - {name: full, policy: none}
  - {name: sure, policy: {kind: fixed, threshold: 0.97}}
  - {name: quick, policy: {kind: fixed, threshold: 0.9}}
"""


def written(directory: Path, text: str = SHORTEST) -> Path:
    file = directory / "own.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def asking(directory: Path, count: int = 6) -> Path:
    """A file of questions."""
    lines = [json.dumps({"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"}) for n in range(count)]
    file = directory / "mine.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


# --- defaults


def test_what_a_file_leaves_out_has_defaults(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path))
    assert (found.backend, found.baseline, found.full_thought) == (Backend.SIMULATED, "sure", "full")
    assert found.questions == QuestionSource()


@pytest.mark.parametrize(
    ("keys", "backend"),
    [
        ("", "simulated"),
        ("model: mine", "live"),
        ("model: mine\nrecords: mine/profile.json.records.jsonl", "simulated"),
        ("model: mine\nbackend: simulated", "simulated"),
        ("backend: live", "live"),
        ("backend: auto\nmodel: mine", "live"),
    ],
)
def test_a_model_of_one_s_own_is_served_live_unless_it_is_recorded(tmp_path: Path, keys: str, backend: str) -> None:
    assert read_experiment(written(tmp_path, f"{keys}\n{SHORTEST}")).backend == backend


def test_the_baseline_is_the_constant_threshold_nearest_to_the_safe_one(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path))  # .97 is nearer to .95 than .9 is
    stricter = "  - {name: strict, policy: {kind: fixed, threshold: 0.99, budget: 9}}\n"  # no threshold alone
    other = read_experiment(written(tmp_path, SHORTEST + stricter))
    alone = read_experiment(written(tmp_path, "\n".join(SHORTEST.splitlines()[:6])))
    assert [one.baseline for one in (found, other, alone)] == ["sure", "sure", "full"]


def test_the_slo_follows_the_profile_and_is_a_constant_without_one(tmp_path: Path) -> None:
    setting = Setting(read_experiment(written(tmp_path)))
    profile, slo = setting.profile, setting.slo
    assert profile is not None
    assert slo.easy < slo.medium < slo.hard
    assert slo.medium == pytest.approx(5.0 * profile.tokens[1][0][0] / profile.plant_model().rate(1), rel=0.05)
    given = Setting(read_experiment(written(tmp_path, SHORTEST + "slo_s: {easy: 1, medium: 2, hard: 3}\n")))
    assert given.slo == ClassSlo(easy=1.0, medium=2.0, hard=3.0)
    setting = Setting(read_experiment(written(tmp_path, f"model: {own_model(tmp_path)}\n{SHORTEST}")))
    assert setting.slo == ClassSlo(easy=10.0, medium=10.0, hard=10.0)


def own_model(directory: Path) -> Path:
    """The bundled model, as one's own: without its profile."""
    model = directory / "mine"
    model.mkdir(exist_ok=True)
    for file in bundled_model().iterdir():
        if not file.name.startswith("profile") and not (model / file.name).exists():
            (model / file.name).symlink_to(file)
    return model


def test_goals_are_held_against_what_each_policy_s_risk_and_levers_allow(tmp_path: Path) -> None:
    profile = Setting(read_experiment(written(tmp_path))).profile
    assert profile is not None
    tables, alone = within_one_corner(profile).tables(), profile.plant_model().rate(1)
    assert tables.p95_steps is not None
    best, quickest = tables.accuracy.max(axis=1), tables.p95_steps.min(axis=1) / alone
    floors, slo = f"accuracy_floors: {(best - 1e-6).tolist()}", f"slo_s: {(0.9 * quickest).tolist()}"
    given = "\n".join(
        f"  - {{name: {name}, policy: {{{policy}}}, controller: {{objective: {{{goal}}}}}}}"
        for name, policy, goal in (
            ("all", "kind: load-aware", floors),
            ("budgets", "kind: budgets-only", floors),
            ("late", "kind: load-aware", slo),
            ("lax", "kind: load-aware, risk: 0.1", slo),
            ("bursts", "kind: load-aware, risk_peak: 0.1", slo),
        )
    )
    setting = Setting(read_experiment(written(tmp_path, f"{SHORTEST}{given}\n")))
    setting.check()
    told = {name: [note for note in setting.notes if f"policy '{name}'" in note] for name in
            ("all", "budgets", "late", "lax", "bursts")}  # fmt: skip
    assert told["all"] == []
    assert len(told["budgets"]) >= 1
    assert len(told["late"]) == 3
    assert len(told["lax"]) < 3
    assert len(told["bursts"]) < 3


# --- one's own questions, model and engine


@pytest.mark.parametrize(
    "said", ["questions: mine.jsonl", "questions: [mine.jsonl.gz]", "questions: {files: [mine.jsonl]}"]
)
def test_questions_may_be_of_files_beside_the_experiment(tmp_path: Path, said: str) -> None:
    file = asking(tmp_path)
    (tmp_path / "mine.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    setting = Setting(read_experiment(written(tmp_path, f"model: {own_model(tmp_path)}\n{said}\n{SHORTEST}")))
    texts = setting.texts(1)
    assert texts is not None
    assert sorted(texts) == [f"What is {n} + {n}?" for n in range(6)]
    setting.check()
    (note,) = setting.notes
    assert note.startswith("6 questions for up to ")
    described = setting.describe(setting.trials[0])
    assert len(described["questions_sha256"]) == 1
    other = asking(tmp_path, 7)
    (tmp_path / "mine.jsonl.gz").write_bytes(gzip.compress(other.read_bytes()))
    assert Setting(setting.experiment).describe(setting.trials[0]) != described  # other questions, other results


def test_a_question_that_several_seeds_ask_is_one_question() -> None:
    runs = ((record(0, question=0), record(1, question=1)), (record(0, question=1), record(1, question=0)))
    assert asked(runs, [["a", "b"], ["c", "a"]]) == [0, 1, 0, 2]
    assert asked(runs, [None, None]) == [0, 1, 1, 0]  # simulated, all seeds ask the same list


def test_thinking_engine_and_threads_reach_the_server(tmp_path: Path) -> None:
    (tmp_path / "form.yaml").write_text("answer_reserve: 90\n", encoding="utf-8")
    keys = "model: mine\nthinking: form.yaml\nengine: {kind: torch, cells: 4096}\nthreads: 2\nmax_batch: 5\n"
    experiment = read_experiment(written(tmp_path, keys + SHORTEST))
    config = load_config(server_config(experiment, experiment.policies[1], tmp_path), {})
    assert config.engine == engine_options("torch", {"cells": 4096, "max_batch": 5})
    assert (config.threads, config.model) == (2, (tmp_path / "mine").resolve())
    assert config.thinking == (tmp_path / "form.yaml").resolve()


@pytest.mark.parametrize(("shortest_first", "head_start_s"), [(True, math.inf), (False, 0.0)])
def test_the_order_of_a_policy_reaches_the_server(tmp_path: Path, shortest_first: bool, head_start_s: float) -> None:
    experiment = read_experiment(written(tmp_path, "model: mine\n" + SHORTEST))
    policy = replace(experiment.policies[1], shortest_first=shortest_first)
    assert load_config(server_config(experiment, policy, tmp_path), {}).orders == head_start_s


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "threads: 2\nengine: torch\nquestions: 5\nmodel: mine\nbackend: simulated\n",
            [
                "1:1: threads is 2, but backend is simulated",
                "2:1: engine is torch, but backend",
                "3:1: questions has the",
            ],
        ),
        ("model: mine\nbackend: live\nprofile: p\nrecords: r\n", ["3:1: profile is", "4:1: records is"]),
        ("engine: {kind: torch, max_batch: 4}\nbackend: live\n", ["1:1: engine has max_batch, which an experiment"]),
        (
            "baseline: shure\nwarmup_s: 99\n",
            ["2:1: warmup_s is 99.0", "1:1: baseline is 'shure', must be one of policies"],
        ),
        ("questions: {cuont: 3}\nmax_tokens: 0\n", ["1:13: unknown key `questions.cuont`", "2:1: max_tokens is 0"]),
    ],
)
def test_what_cannot_stand_together_is_told_at_once(tmp_path: Path, text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        read_experiment(written(tmp_path, text + SHORTEST))
    lines = [line.rpartition("own.yaml:")[2] for line in refused.value.lines]
    assert len(lines) == len(told)
    assert all(line.startswith(start) for line, start in zip(lines, told, strict=True)), lines


def test_an_experiment_without_full_thought_says_how_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"full_thought is not given, .*add \{name: full thought, policy: none\}"):
        read_experiment(written(tmp_path, SHORTEST.replace("policy: none", "policy: no-thinking")))


def test_all_that_a_model_lacks_is_told_before_anything_runs(tmp_path: Path) -> None:
    more = "  - {name: LASER, policy: load-aware}\n  - {name: table, policy: load-table}\n"
    file = written(tmp_path, f"model: {own_model(tmp_path)}\nquestions: [none.jsonl]\n{SHORTEST}{more}")
    with pytest.raises(Faults) as refused:
        Setting(read_experiment(file)).check()
    profile, questions = refused.value.lines
    assert profile.startswith("policies 'LASER', 'table' need a profile: ")
    assert profile.endswith("mine/profile.json does not exist; `laser calibrate` measures it")
    assert questions.endswith("none.jsonl: cannot be read: No such file or directory")


# --- what is told


def test_the_report_names_model_engine_and_profile_and_what_came_round(tmp_path: Path) -> None:
    (tmp_path / "times.jsonl").write_text('{"timestamp": 0}\n{"timestamp": 5}\n{"timestamp": 11}\n')
    text = SHORTEST.replace("{kind: poisson, rate: 1}", "{kind: trace, path: times.jsonl}")
    text = f"model: {own_model(tmp_path)}\nquestions: [{asking(tmp_path)}]\nthreads: 2\n{text}"
    setting, store = Setting(read_experiment(written(tmp_path, text))), Store(tmp_path / "out")
    for trial in setting.trials:
        with store.writing(trial.slug, setting.describe(trial), {"served": served(setting)}) as draft:
            for number, at_s in enumerate(setting.requests(trial).times):
                draft.add(record(number, question=number % 6, at_s=float(at_s)))
    told = report("own", findings(setting, store))
    assert told.machine == "Machine: unknown, unknown cores; its speed is not known without a profile."  # old trials
    said = dict(told.facts)
    assert said["model"].startswith("mine; weights ")
    assert said["engine"] == "torch on the CPU, 2 threads, at most 32 at once"
    assert said["profile"] == "none"
    assert "times.jsonl has arrivals for 11 s, the run is to take 30 s: they come round, 2.7 times" in said["note"]


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({"engine": "torch"}, "torch"),
        ({"engine": None}, "auto"),
        ({"engine": {"cells": 512}}, "auto"),  # a program's options, whose class is not kept
        ({"kind": "exllama"}, "exllama"),  # an earlier release's
        ({}, "unknown"),
    ],
)
def test_the_engine_of_a_calibration_is_read_from_what_any_release_wrote(options: dict[str, Any], engine: str) -> None:
    assert calibrated_engine(options) == engine


def test_a_simulation_s_report_says_whose_step_times_it_has(tmp_path: Path) -> None:
    said = served(Setting(read_experiment(written(tmp_path))))
    assert said["model"].startswith("laser-reasoner, the bundled one; weights ")
    assert said["engine"].startswith("simulated, with the step times of engine auto on ")
    assert said["profile"].startswith("measured 20")


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("", "Machine: simulated, "),
        (
            "synthetic: {curve: pessimistic, questions: 100}\n",
            "Machine: simulated, made from published figures; a step",
        ),
    ],
)
def test_a_report_begins_with_the_machine_s_speed(tmp_path: Path, text: str, begins: str) -> None:
    setting = Setting(read_experiment(written(tmp_path, f"{text}max_batch: 8\n{SHORTEST}")))
    assert setting.profile is not None
    plant = replace(setting.profile.plant_model(), max_batch=8)
    told = machine(setting, ())
    assert told.startswith(begins)
    alone, full = (f"{plant.rate(count):,.0f} tokens/s" for count in (1, 8))
    assert f"with one sequence, {alone}, and " in told
    assert told.endswith(f" ms with 8, {full}.")
    (tmp_path / "report.png").write_bytes(b"")
    found = Findings(
        experiment=setting.experiment, latency_weight=1e-3, slo=setting.slo, workloads=(), complete=0, trials=1,
        origins=(), machine=told,
    )  # fmt: skip
    for file in write(tmp_path, report("own", found), found)[:2]:
        head = file.read_text(encoding="utf-8").replace("\\", "").partition("seeds")[0]
        assert told in head


FAULTS = """\
backend: simulated
max_tokens: 700
policies:
  - {name: full, policy: none}
  - name: sure
    policy: {kind: margin, margin: 4}
workloads:
  - {name: calm, arrivals: {kind: poisson, rate: 1}}
seeds: [1]
duration_s: 30
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FAULTS, "own.yaml:5:5: policy 'sure' is margin, of which nothing was recorded"),
        (FAULTS.replace("margin, margin: 4", "fixed, threshold: .9"), "own.yaml:2:1: max_tokens is 700, must be 541"),
        (
            FAULTS.replace("margin, margin: 4", "budget, budget: 7").replace("700", "541"),
            "own.yaml:5:5: policy 'sure' has budget 7, must be ",
        ),
        ("model: nowhere\n" + SHORTEST, "own.yaml:1:1: model: {folder}/nowhere: is neither a path that exists"),
        (
            "questions: [none.jsonl]\nbackend: live\n" + SHORTEST,
            "own.yaml:1:1: questions: {folder}/none.jsonl: cannot be",
        ),
        ("records: none.jsonl\n" + SHORTEST, "own.yaml:1:1: records: {folder}/none.jsonl: does not exist"),
        ("profile: none.json\n" + SHORTEST, "own.yaml:1:1: profile: {folder}/none.json: "),
        (
            SHORTEST.replace("rate: 1}", "rate: 1.0e-9}"),
            "own.yaml:4:5: workload 'steady' with seed 1 brings 0 requests, none of them after",
        ),
    ],
)
def test_each_fault_of_an_experiment_has_its_place(tmp_path: Path, text: str, told: str) -> None:
    done = CliRunner().invoke(main, ["experiment", "run", str(written(tmp_path, text)), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert told.replace("{folder}", str(tmp_path)) in done.output


def tuned(change: Estimate | None, **values: float) -> Tuned:
    own = {"inner_s": 0.5, "outer_s": 5.0}
    paired = Paired(latency=change, in_time=Estimate(value=0.0, low=0.0, high=0.0), accuracy=change or Estimate(
        value=0.0, low=0.0, high=0.0), tokens=None, utility=change)  # fmt: skip
    return Tuned(
        settings=ControllerSettings(),
        tried=(Tried(values=own, utility=0.8), Tried(values={**own, **values}, utility=0.9)),
        best=Tried(values={**own, **values}, utility=0.9),
        held_out={"steady": paired},
        worth=Worth(before=0.80, after=0.81, change=paired),
        seeds=(4, 5),
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.2, 1.8, "That is a gain."),
        (-0.2, 2.2, "no gain is shown"),
        (-1.8, -0.2, "That is a loss: keep the old settings."),
    ],
)
def test_tuning_tells_each_setting_that_it_changed_and_what_that_is_worth(
    low: float, high: float, verdict: str
) -> None:
    said = summary(tuned(Estimate(value=(low + high) / 2, low=low, high=high), inner_s=0.25))
    assert said.startswith("1 of 2 settings are changed:\n\n  inner_s ")
    assert "0.5 → 0.25\n" in said
    assert "outer_s" not in said
    assert "on seeds 4, 5, which the search has not seen: utility is 80.00 points before and 81.00 after" in said
    assert f"[{low:+.2f}, {high:+.2f}]" in said
    assert verdict in said


def test_tuning_that_changed_nothing_says_so() -> None:
    assert summary(tuned(None)).startswith("Nothing is changed: of 2 settings tried, none was better on the training")
