"""Policy tables: read back as written, looked up on the safe side, refused when damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from controller.policy import Limits
from experiments.analysis.policy_table import PolicyTable, PolicyTableError, read_policy_table, write_policy_table

TABLE = PolicyTable(
    weights_sha256="ab" * 32,
    classes=("easy", "hard"),
    rates=(1.0, 2.5),
    thresholds=(((None, None), (0.97, None)), ((0.9, 0.95), (0.5, 0.8))),
    budgets=(((None, None), (None, None)), ((90, None), (60, 240))),
)


def test_a_table_is_read_back_as_written(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    write_policy_table(file, TABLE)
    assert read_policy_table(file) == read_policy_table(file, TABLE.weights_sha256) == TABLE


@pytest.mark.parametrize(
    ("rate", "in_system", "difficulty", "limits"),
    [
        pytest.param(0.0, 0, "easy", Limits(), id="calm"),
        pytest.param(1.0, 2, "easy", Limits(threshold=0.97), id="at-a-rate"),
        pytest.param(1.01, 1, "easy", Limits(threshold=0.9, budget=90), id="between-rates-the-higher"),
        pytest.param(99.0, 99, "hard", Limits(threshold=0.8, budget=240), id="beyond-both-ends"),
        pytest.param(2.0, 2, None, Limits(threshold=0.8, budget=240), id="unknown-difficulty-as-the-hardest"),
    ],
)
def test_what_lies_between_is_looked_up_on_the_busy_side(
    rate: float, in_system: int, difficulty: str | None, limits: Limits
) -> None:
    assert TABLE.limits(rate, in_system, difficulty) == limits


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of easy, hard"):
        TABLE.limits(1.0, 1, "medium")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rates": (2.5, 1.0)}, "must rise"),
        ({"rates": ()}, "at least one"),
        ({"classes": ()}, "no classes"),
        ({"classes": ("easy",)}, "no entry for each"),
        ({"budgets": (((None, None),), ((90, None),))}, "no entry for each"),
        ({"thresholds": (((None, 0.0), (0.97, None)), ((0.9, 0.95), (0.5, 0.8)))}, "must be above 0"),
    ],
)
def test_tables_that_make_no_sense_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TABLE, **change)  # type: ignore[arg-type]


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    with pytest.raises(PolicyTableError, match="cannot be read"):
        read_policy_table(file)
    write_policy_table(file, TABLE)
    whole = file.read_text("utf-8")
    file.write_text(whole[:-20], encoding="utf-8")
    with pytest.raises(PolicyTableError, match="only a part of it"):
        read_policy_table(file)
    file.write_text(whole.replace("0.97", "0.57"), encoding="utf-8")
    with pytest.raises(PolicyTableError, match="damaged or edited"):
        read_policy_table(file)
    file.write_text(json.dumps({"format": "other"}), encoding="utf-8")
    with pytest.raises(PolicyTableError, match="laser-policy-table"):
        read_policy_table(file)


def test_a_table_of_another_model_is_refused(tmp_path: Path) -> None:
    write_policy_table(tmp_path / "table.json", TABLE)
    with pytest.raises(PolicyTableError, match="laser analyze"):
        read_policy_table(tmp_path / "table.json", "cd" * 32)
