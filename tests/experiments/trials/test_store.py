"""Trials on the disk: there whole or not at all, of this experiment only, and damaged files told."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.trials.store import Store, StoreError
from tests.experiments.trials.test_trials import record


def test_a_trial_counts_once_it_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "results")
    description = {"seed": 1, "policy": {"name": "a", "thresholds": (0.9,)}}
    with pytest.raises(KeyboardInterrupt), store.writing("a-1", description, {}) as draft:  # noqa: PT012
        draft.add(record(1))
        raise KeyboardInterrupt
    assert not store.has("a-1", description)
    with store.writing("a-1", description, {"date": "today"}) as draft:
        draft.add(record(1, error="it failed", right=None))
        draft.add(record(0))
    assert store.has("a-1", description)
    assert store.read("a-1", description) == [record(0), record(1, error="it failed", right=None)]
    assert store.origin("a-1") == {"date": "today"}
    assert [file.name for file in sorted((tmp_path / "new" / "results").iterdir())] == ["a-1.jsonl"]


def test_results_of_another_experiment_are_not_taken_for_these(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("a-1", {"seed": 1, "duration_s": 30.0}, {}):
        pass
    with pytest.raises(
        StoreError, match=r"a-1\.jsonl: was run with duration_s 30\.0, the experiment has 60\.0: remove"
    ):
        store.has("a-1", {"seed": 1, "duration_s": 60.0})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"a\.jsonl:1: is no header of a trial"),
        ("{}\n", r"a\.jsonl:1: is no header of a laser-trial of version 1"),
        (
            '{"format": "laser-trial", "version": 1, "trial": {}, "origin": {}}\nnonsense\n',
            r"a\.jsonl:2: is no request",
        ),
        (
            '{"format": "laser-trial", "version": 1, "trial": {}, "origin": {}}\n{"a": 1}\n',
            r"a\.jsonl:2: is no request",
        ),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(StoreError, match=told):
        Store(tmp_path).read("a", {})


def test_one_run_at_a_time_writes_there(tmp_path: Path) -> None:
    with (
        Store(tmp_path).locked(),
        pytest.raises(StoreError, match="another run is writing there"),
        Store(tmp_path).locked(),
    ):
        pass
    with Store(tmp_path).locked():
        pass
