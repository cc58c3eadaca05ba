"""`laser experiment` in simulation: every policy, on several cores, and the search for the controller's settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controller.settings import ControllerSettings
from experiments.evaluation.questions import bundled_questions
from laser.cli.main import main
from models.chat_model import load_chat_model
from models.files.strict_yaml import read
from models.profile.profile import read_profile
from models.reasoner import bundled_model
from tests.support.calibrations import COUNT, SEED, save_calibration
from tests.support.live_server import wait_until

pytestmark = pytest.mark.slow

EXPERIMENT = """\
backend: simulated
profile: profile.json
records: profile.json.records.jsonl
seeds: [1, 2]
duration_s: 16
warmup_s: 4
max_tokens: 640
max_batch: 4
rates: capacity
workloads:
  - name: calm
    arrivals: {kind: poisson, rate: 0.2}
  - name: crowd
    arrivals: {kind: flash-crowd, rate: 0.4, peak: 4, at_s: 4, hold_s: 3, decay_s: 1}
policies:
  - {name: full, policy: none}
  - {name: short, policy: budget, budget: 90}
  - {name: sure, policy: fixed, threshold: 0.9}
  - {name: "sure, shortest first", policy: fixed, threshold: 0.9, shortest_first: true}
  - {name: agreed, policy: consistency, agree: 2}
  - {name: rule, policy: paper}
  - {name: table, policy: load-table}
  - {name: oracle, policy: fixed, threshold: 0.9, oracle: true}
  - {name: LASER, policy: load-aware}
  - {name: joint, policy: load-aware, controller: {price: joint-program}}
  - {name: window, policy: load-aware, controller: {estimator: {window_s: 5}}}
  - {name: thresholds, policy: thresholds-only}
  - {name: budgets, policy: budgets-only}
hindsight: {thresholds: [0.5], budgets: [160]}
baseline: sure
full_thought: full
slo_s: {easy: 2, medium: 3, hard: 4}
"""
TRIALS = 2 * 2 * (13 + 3)
FEW = ("full", "sure", "LASER")  # policies of the shorter experiment
FEW_TRIALS = 2 * 2 * len(FEW)


def experiment(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["experiment", *map(str, arguments)])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, beside the calibration that it is played on."""
    directory = tmp_path_factory.mktemp("simulated")
    save_calibration(directory)
    return written(directory / "all.yaml", EXPERIMENT)


@pytest.fixture(scope="module")
def out(file: Path) -> Path:
    directory = file.with_name("out")
    result = experiment("run", file, "--out", directory, "--jobs", 2)
    assert result.exit_code == 0, result.output
    return directory


@pytest.fixture(scope="module")
def few(file: Path) -> Path:
    """The experiment with FEW policies and no constants in hindsight."""
    kept = tuple(f"  - {{name: {name}," for name in FEW)
    lines = [
        line
        for line in EXPERIMENT.splitlines()
        if "hindsight" not in line and (line.startswith(kept) or "policy: " not in line)
    ]
    return written(file.with_name("few.yaml"), "\n".join(lines))


def test_workers_end_with_a_run_that_is_killed(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "laser", "experiment", "run", str(few), "--out", str(out), "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until(lambda: len(list(out.glob("*.jsonl"))) > 0, timeout_s=60)
            assert len(members(process.pid)) >= 3  # two workers
            process.kill()
            process.wait(20)
            wait_until(lambda: not members(process.pid), timeout_s=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert experiment("run", few, "--out", out, "--jobs", 2).exit_code == 0
    assert len(list(out.glob("*.jsonl"))) == FEW_TRIALS


def test_a_run_that_is_ended_ends_its_workers_at_once(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "ended"
    command = [sys.executable, "-m", "laser", "experiment", "run", str(few), "--out", str(out), "--jobs", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until(lambda: len(list(out.glob("*.jsonl"))) > 0, timeout_s=60)
            process.terminate()
            assert process.wait(20) == 128 + signal.SIGTERM
            wait_until(lambda: not members(process.pid), timeout_s=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def members(group: int) -> list[int]:
    """The processes of a group that live."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, own = (directory / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                found.append(int(directory.name))
    return found


def written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def lines(file: Path) -> list[dict[str, Any]]:
    """A trial's requests."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def test_every_policy_meets_the_same_requests_and_serves_them(out: Path) -> None:
    files = sorted(out.glob("*.jsonl"))
    assert len(files) == TRIALS
    for workload in ("calm", "crowd"):
        asked = {
            seed: {
                tuple((one["number"], one["question"], one["at_s"]) for one in lines(each))
                for each in files
                if each.name.startswith(workload) and each.stem.endswith(f"-{seed}")
            }
            for seed in (1, 2)
        }
        assert [len(of) for of in asked.values()] == [1, 1]
        assert asked[1] != asked[2]
    for each in files:
        assert all(one["error"] is None and one["latency_s"] > 0.0 for one in lines(each))


def test_policies_do_what_they_are_for(file: Path, out: Path) -> None:
    def reasons(policy: str) -> set[str]:
        return {one["exit_reason"] for one in lines(out / f"crowd-{policy}-1.jsonl")}

    assert reasons("full") == {"natural"}
    assert reasons("short") == {"budget"}
    assert reasons("sure") == {"confidence"} == reasons("oracle")
    assert reasons("agreed") == {"consistency"}
    agreed, sure = (lines(out / f"crowd-{policy}-1.jsonl") for policy in ("agreed", "sure"))
    assert {one["probes"] for one in agreed} == {2}  # they say 42 from the first on
    assert not any(one["right"] for one in agreed)
    assert all(one["right"] and one["probes"] == 3 for one in sure)
    first_come, shortest = (lines(out / f"crowd-{policy}-1.jsonl") for policy in ("sure", "sure-shortest-first"))
    # the shorter its thought is predicted, the sooner it begins
    chat, difficulty = load_chat_model(bundled_model()), read_profile(file.with_name("profile.json")).difficulty
    prompts = [[{"role": "user", "content": question.text}] for question in bundled_questions(COUNT, SEED)]
    length = [difficulty.expected_tokens(chat.prompt(prompt)) for prompt in prompts]
    assert max(one["queue_s"] for one in shortest) > max(one["queue_s"] for one in first_come)
    waits = [one["queue_s"] for one in sorted(shortest, key=lambda one: length[one["question"]])]
    assert sum(waits[: len(waits) // 2]) < sum(waits[len(waits) // 2 :]) / 2


def test_a_run_that_goes_on_plays_what_is_missing_to_the_same_end(file: Path, out: Path) -> None:
    gone = out / "crowd-laser-2.jsonl"
    before = lines(gone)
    others = {each.name: each.stat().st_mtime_ns for each in out.glob("*.jsonl") if each != gone}
    gone.rename(gone.with_name(gone.name + ".draft"))  # as if the run had been killed just then
    result = experiment("run", file, "--out", out, "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert lines(gone) == before
    assert {each.name: each.stat().st_mtime_ns for each in out.glob("*.jsonl") if each != gone} == others


def test_the_report_names_the_best_constant_settings_in_hindsight(file: Path, out: Path) -> None:
    told = experiment("report", file, "--out", out)
    assert told.exit_code == 0, told.output
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))["workloads"]
    for workload in found.values():
        constants = {"full", "short", "sure", "threshold 0.5", "threshold 0.5, budget 160", "budget 160"}
        utilities = {name: workload["policies"][name]["outcome"]["utility"] for name in constants}
        assert utilities[workload["best_constant"]] == max(utilities.values())
        assert workload["best_threshold"] in {"full", "sure", "threshold 0.5"}
        assert all(one["outcome"]["requests"] == workload["requests"] for one in workload["policies"].values())
        for name, one in workload["policies"].items():
            assert set(one["against"]) | {name} >= {"sure", workload["best_constant"]}
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# all: simulated\n")
    assert "## Overview" in markdown
    for heading in ("calm", "crowd"):
        assert f"## {heading}\n" in markdown


def test_the_search_for_settings_reports_on_seeds_that_it_has_not_seen(few: Path, tmp_path: Path) -> None:
    search = ("tune", few, "--policy", "LASER", "--training", "11", "--jobs", "1", "--out", tmp_path)
    assert experiment(*search, "--attempts", "1").exit_code == 0
    (first,) = json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))["tried"]
    result = experiment(*search, "--attempts", "2")
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))
    assert len(said["tried"]) == 2
    assert said["tried"][0] == first  # not tried again
    assert said["best"]["utility"] == max(one["utility"] for one in said["tried"])
    assert said["tried"][0]["values"]["inner_s"] == ControllerSettings().inner_s  # the experiment's own come first
    assert set(said["held_out"]) == {"calm", "crowd"}
    settings = read(tmp_path / "controller.yaml", ControllerSettings)
    assert settings.objective.latency_weight == pytest.approx(said["best"]["values"]["objective.latency_weight"])
    assert said["worth"]["seeds"] == [1, 2]
    assert said["worth"]["after"] - said["worth"]["before"] == pytest.approx(
        said["worth"]["change"]["utility"]["value"] / 100.0
    )
    told = [f"{name} " for name in said["changed"]] or ["Nothing is changed"]
    assert all(each in result.output for each in told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "nobody", "--training", "11"), "there is no policy 'nobody', there are full, short"),
        (("--policy", "sure", "--training", "11"), "policy 'sure' is fixed, which has no controller to tune"),
        (("--policy", "LASER", "--training", "2,11"), "seed 2 is for training and for reporting"),
        (("--policy", "LASER", "--training", "a"), "'a' is no list of seeds"),
        (("--policy", "LASER", "--training", "3,3"), "seeds must differ"),
    ],
)
def test_a_search_that_cannot_be_is_told(file: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    result = experiment("tune", file, *arguments, "--out", tmp_path)
    assert result.exit_code != 0
    assert told in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("max_tokens: 640", "max_tokens: 600", "max_tokens is 600, must be 640 as in the calibration"),
        ("records: profile", "records: nowhere/profile", "does not exist; `laser calibrate` records thoughts"),
        ("budget: 90", "budget: 91", "policy 'short' has budget 91, must be one of"),
        ("agree: 2}", "agree: 2, every: 16}", "policy 'agreed' has every 16, but probes were recorded at transition"),
        ("warmup_s: 4", "warmup_s: 15.99", "none of them after the warm-up of 15.99 s: at least one must count"),
        ("profile: profile", "profile: nowhere/profile", "cannot be read"),
        (
            "policy: load-aware}",
            "policy: load-aware, risk: 0.001}",
            "policy 'LASER': risk is 0.001, for which the profile",
        ),
        ("policy: paper}", "policy: paper, risk: 1.0}", "risk is 1.0, must be above 0 and below 1"),
        (
            "policy: load-aware}",
            "policy: load-aware, controller: {objective: {slo_s: [2, 4]}}}",
            "policy 'LASER': `objective.slo_s` has 2 entries, must have 3 or none",
        ),
    ],
)
def test_a_simulation_without_its_calibration_is_told(
    file: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    changed = written(file.with_name("changed.yaml"), EXPERIMENT.replace(old, new, 1))
    result = experiment("run", changed, "--out", tmp_path)
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output


def test_only_a_simulation_can_be_searched(tmp_path: Path) -> None:
    live = EXPERIMENT.replace("backend: simulated", "backend: live").replace("rates: capacity\n", "")
    live = "\n".join(line for line in live.splitlines() if not line.startswith(("profile", "records")))
    live = "\n".join(line for line in live.splitlines() if "oracle" not in line)
    result = experiment(
        "tune", written(tmp_path / "live.yaml", live), "--policy", "LASER", "--training", "11", "--out", tmp_path
    )
    assert result.exit_code == 1
    assert "backend is live, must be simulated" in result.output
