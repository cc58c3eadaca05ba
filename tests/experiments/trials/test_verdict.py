"""A report begins with what the experiment means: against the baseline, by workload, and beside the best constant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from experiments.trials.experiment import read_experiment
from experiments.trials.findings import Findings, findings
from experiments.trials.report import markdown, report
from experiments.trials.setting import Setting
from experiments.trials.store import Store
from experiments.trials.verdict import verdict
from tests.experiments.trials.test_trials import TEXT, record

LATENCY = {"full": 2.0, "sure": 1.5, "early": 0.9}
THREE = TEXT.replace("{name: ours, policy: load-aware, controller: {outer_s: 2}}", "{name: early, policy: fixed}")


def found(directory: Path, text: str = THREE, latency: Mapping[str, float] = LATENCY) -> Findings:
    """Findings of an experiment whose policies need so many seconds."""
    file = directory / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    setting, store = Setting(read_experiment(file)), Store(directory / "out")
    for trial in setting.trials:
        if trial.policy.name not in latency:
            continue
        with store.writing(trial.slug, setting.describe(trial), {"date": "2026-01-01"}) as draft:
            for place in range(40):
                right = place % 10 > 0 or trial.policy.name == "sure"
                draft.add(record(place, latency_s=latency[trial.policy.name] * (1 + place % 3), right=right))
    return findings(setting, store)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return found(tmp_path_factory.mktemp("shown"))


def test_each_workload_is_told_in_a_sentence_and_the_best_constant_afterwards(shown: Findings) -> None:
    first, second, few, last = verdict(shown)
    assert few.startswith("That is few, ")
    assert first.startswith(
        "Under steady, early answers in 1.78 s in the mean, sure in 2.96 s: 40 % less (95 %: 40 … 40); "
    )
    assert "; 90.0 % instead of 100.0 % are right, 10.0 points fewer (95 %: " in first
    assert second.startswith("Under bursty, early answers")
    assert last.startswith(
        "Against the constant threshold and budget that proved best afterwards, early is better under 0"
    )
    made = report("try", shown)
    assert made.lead == (first, second, few, last)
    assert markdown(first) == first.replace("_", r"\_")


def test_a_report_explains_each_column_once(shown: Findings) -> None:
    notes = [table.note for section in report("try", shown).sections for table in section.tables]
    for head in ("p50, p95, p99: ", "goodput /s: ", "of probes: ", "tokens %: "):
        assert sum(head in note for note in notes) == 1


@pytest.mark.parametrize("latency", [{"full": 1.0}, {"full": 1.0, "sure": 1.0}, {}])
def test_where_nothing_is_to_be_compared_nothing_is_claimed(tmp_path: Path, latency: dict[str, float]) -> None:
    assert verdict(found(tmp_path, latency=latency)) == []


def test_many_workloads_are_told_by_the_least_and_the_greatest_change(tmp_path: Path) -> None:
    more = "".join(f"  - name: w{n}\n    arrivals: {{kind: poisson, rate: {n + 1}}}\n" for n in range(3))
    told = verdict(found(tmp_path, THREE.replace("policies:\n", f"{more}policies:\n")))
    assert told[0].startswith("Under the 5 workloads early changes the mean latency against sure by -40 to -40 %, and")
    assert len(told) == 3


def test_what_is_not_run_yet_is_told(tmp_path: Path) -> None:
    shown = found(tmp_path, latency={"sure": 1.5, "early": 0.9})
    assert verdict(shown)[-1] == "Not all is run yet: 8 of 12 trials are complete."
