"""Names are text in reports, a figure that fails costs no report, and a search goes on after its journal was torn."""

from __future__ import annotations

import json
import re
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from controller.settings import ControllerSettings
from experiments.trials.experiment import NamedPolicy, NamedWorkload, read_experiment
from experiments.trials.paired import paired
from experiments.trials.report import markdown
from experiments.trials.setting import Setting
from experiments.trials.speed import relative_speed
from experiments.trials.store import Store, StoreError
from experiments.trials.tuning import mend
from experiments.workloads import Poisson
from laser.cli.main import main
from models.files.replacement import WriteError
from models.files.strict_yaml import ConfigError
from models.profile.plant import Plant, StepTime
from tests.experiments.trials.test_trials import SLO, TEXT, record

NAMES = [
    "full $5 to $10",
    "_full",
    "a|b",
    "price $\\frac$",
    "<b>bold</b>",
    "*star* `tick`",
    "[c](d)",
    "50 % & more",
    "# 1",
]


def stored(directory: Path, names: list[str], requests: int = 8) -> Path:
    """An experiment whose policies have these names, with results of every trial."""
    policies = "\n".join(f"  - {{name: {json.dumps(name)}, policy: none}}" for name in names)
    text = re.sub(r"policies:\n.*(?=slo_s)", "", TEXT, flags=re.DOTALL).replace("name: steady", f"name: {names[0]!r}")
    chosen = f"policies:\n{policies}\nbaseline: {json.dumps(names[0])}\nfull_thought: {json.dumps(names[-1])}\n"
    file = directory / "named.yaml"
    file.write_text(text + chosen, encoding="utf-8")
    setting, store = Setting(read_experiment(file)), Store(directory / "out")
    origin = {"date": "2026-01-01", "processor": "P", "cores": 2, "versions": {"torch": "1"}}
    for number, trial in enumerate(setting.trials):
        with store.writing(trial.slug, setting.describe(trial), origin) as draft:
            for place in range(requests):
                draft.add(record(place, latency_s=1.0 + number / 10))
    return file


def test_names_are_text_in_the_report(tmp_path: Path) -> None:
    file = stored(tmp_path, NAMES)
    done = CliRunner().invoke(main, ["experiment", "report", str(file), "--out", str(tmp_path / "out")])
    assert (done.exit_code, done.stderr) == (0, "")
    told = (tmp_path / "out" / "report.md").read_text("utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", told, flags=re.MULTILINE)
    assert len(tables) > 5
    for table in tables:  # as many cells in each row as in its header
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table
    for name in NAMES:
        assert f"| {markdown(name)} |" in told
        assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown(name)) == name
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert (tmp_path / "out" / "report.png").stat().st_size > 10_000


def test_a_figure_that_fails_costs_no_report(tmp_path: Path) -> None:
    """A directory where the figure should be: drawing fails, whatever is drawn."""
    file = stored(tmp_path, ["full", "sure"])
    (tmp_path / "out" / "report.png").mkdir()
    done = CliRunner().invoke(main, ["experiment", "report", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("the figure could not be drawn: ")
    assert "report.png" not in done.stdout
    for name in ("report.md", "report.html"):
        told = (tmp_path / "out" / name).read_text("utf-8")
        assert "the figure could not be drawn" in told
        assert "data:image" not in told
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["complete"] == 8


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ('"two\\nlines"', "a line end or another control character"),
        ('"bell\\a"', "a line end or another control character"),
        ('"\\u202eright to left"', "a line end or another control character"),
        ('"  "', "name is empty"),
        ("n" * 81, "name has 81 characters, must have at most 80"),
    ],
)
def test_names_that_no_table_can_show_are_refused_in_the_file(tmp_path: Path, name: str, told: str) -> None:
    file = tmp_path / "experiment.yaml"
    for old in ("name: steady", "name: full"):
        file.write_text(TEXT.replace(old, f"name: {name}"), encoding="utf-8")
        with pytest.raises(ConfigError, match=told) as refused:
            read_experiment(file)
        assert re.match(rf"{file}:\d+:\d+: ", str(refused.value))
    with pytest.raises(ValueError, match="name is empty"):
        NamedWorkload(name="", arrivals=Poisson(rate=1.0))
    with pytest.raises(ValueError, match="name is empty"):
        NamedPolicy(name="", policy=read_experiment(stored(tmp_path, ["a"])).policies[0].policy)


def test_controller_settings_of_a_policy_without_a_controller_are_refused(tmp_path: Path) -> None:
    plain = read_experiment(stored(tmp_path, ["a"])).policies[0]
    with pytest.raises(ValueError, match="controller has settings, but policy is none, which has no controller"):
        replace(plain, controller=ControllerSettings(outer_s=9.0))


def test_where_nothing_was_served_under_both_policies_no_change_is_told() -> None:
    before = [[record(number) for number in range(6)]]
    now = [[record(number, error="it failed", right=None, rows=0) for number in range(6)]]
    found = paired(before, now, SLO, latency_weight=0.1, questions=list(range(6)), rng=np.random.default_rng(0))
    assert (found.latency, found.tokens, found.utility) == (None, None, None)
    assert found.accuracy.value == -100.0
    assert found.in_time.value < 0.0
    one = [[replace(now[0][0], error=None, rows=120, right=True), *now[0][1:]]]  # some resamples have none
    found = paired(before, one, SLO, latency_weight=0.1, questions=list(range(6)), rng=np.random.default_rng(0))
    assert found.latency is not None
    assert json.loads(json.dumps([found.latency.low, found.latency.high], allow_nan=False)) == [0.0, 0.0]


def test_a_report_of_failures_is_a_report(tmp_path: Path) -> None:
    file = stored(tmp_path, ["full", "sure"])
    for trial in (tmp_path / "out").glob("*sure*.jsonl"):  # each policy serves another half
        header, *lines = trial.read_text("utf-8").splitlines()
        halves = [json.loads(line) for line in lines]
        for place, one in enumerate(halves):
            one["error"] = "it failed" if place % 2 else None
        trial.write_text("\n".join([header, *map(json.dumps, halves)]) + "\n", encoding="utf-8")
    for trial in (tmp_path / "out").glob("*full*.jsonl"):
        header, *lines = trial.read_text("utf-8").splitlines()
        halves = [json.loads(line) for line in lines]
        for place, one in enumerate(halves):
            one["error"] = None if place % 2 else "it failed"
        trial.write_text("\n".join([header, *map(json.dumps, halves)]) + "\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["experiment", "report", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    told = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "nan" not in told.lower()
    assert "NaN" not in (tmp_path / "out" / "report.json").read_text("utf-8")


def test_replies_without_rows_tell_no_speed() -> None:
    plant = Plant(step_time=StepTime(a=1e-3, c=1e-4), max_batch=4)
    empty = record(1, rows=0, probe_rows=0, thought_tokens=0, completion_tokens=0)
    assert relative_speed([empty], plant) is None
    assert relative_speed([replace(empty, rows=15, probe_rows=15)], plant) is None
    assert relative_speed([record(1)], plant) is not None
    with pytest.raises(ValueError, match="1 requests have been made, and none was served"):
        relative_speed([replace(record(1), error="it failed")], plant)


# --- journals


def searched(journal: Path, trials: int) -> int:
    """Runs a little search that `journal` keeps; returns the number of values it has tried in all."""
    mend(journal)
    study = optuna.create_study(
        study_name="s", storage=JournalStorage(JournalFileBackend(str(journal))), load_if_exists=True
    )
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=trials)
    return len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = tmp_path / "tuning.journal"
    assert searched(file, 2) == 2
    return file


@pytest.mark.parametrize("torn", [1, 30, 100])
def test_a_torn_journal_goes_on_without_its_last_line(
    journal: Path, torn: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-torn])
    lines = whole[:-torn].count(b"\n") + 1
    assert searched(journal, 1) in (2, 3)
    assert f"{journal}:{lines}: was cut off, and is dropped" in caplog.text
    assert searched(journal, 1) in (3, 4)


def test_a_journal_that_is_damaged_in_its_middle_is_named_by_file_and_line(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], lines[2][:-20] + lines[3], *lines[4:]]))
    with pytest.raises(StoreError, match=rf"^{journal}:3: is no line of a tuning's journal: .*; remove the file"):
        mend(journal)


def test_the_lock_of_a_killed_search_stops_nobody(journal: Path) -> None:
    journal.with_name("tuning.journal.lock").symlink_to(journal)
    assert searched(journal, 1) == 3


def test_a_trial_that_finds_the_disk_full_names_its_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"a-1\.jsonl\.draft: cannot be written: File too large"):
            _fill(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.has("a-1", {})


def test_an_error_of_a_live_run_is_told_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError, match="by the server"), Store(tmp_path).writing("a-1", {}, {}):
        raise ConnectionResetError(104, "reset by the server")


def _fill(store: Store) -> None:
    with store.writing("a-1", {}, {}) as draft:
        for number in range(100):
            draft.add(record(number))
