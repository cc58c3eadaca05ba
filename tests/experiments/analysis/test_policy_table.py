"""Policy tables: what is written, and what makes none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from experiments.analysis.policy_table import PolicyTable, write_policy_table

TABLE = PolicyTable(
    weights_sha256="ab" * 32,
    classes=("easy", "hard"),
    rates=(1.0, 2.5),
    thresholds=(((None, None), (0.97, None)), ((0.9, 0.95), (0.5, 0.8))),
    budgets=(((None, None), (None, None)), ((90, None), (60, 240))),
)


def test_a_table_is_written_with_its_format_and_a_checksum(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    write_policy_table(file, TABLE)
    said = json.loads(file.read_text("utf-8"))
    payload = json.dumps(said["table"], sort_keys=True, separators=(",", ":")).encode()
    assert (said["format"], said["version"]) == ("laser-policy-table", 1)
    assert said["sha256"] == hashlib.sha256(payload).hexdigest()
    assert said["table"] == json.loads(json.dumps(dataclasses.asdict(TABLE)))
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]  # no draft is left


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
