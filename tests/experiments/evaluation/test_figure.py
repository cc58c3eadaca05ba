"""Figures can be drawn and told of any records, and files are replaced whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.evaluation.evaluation import EvaluationRecord
from experiments.evaluation.figure import draw
from experiments.evaluation.report import evaluation
from experiments.evaluation.summary import summary
from experiments.evaluation.sweeps import served
from models.files.replacement import replacing
from tests.support.evaluations import asked, recorded


def unprobed() -> list[EvaluationRecord]:
    return [recorded(split=None)]


def all_wrong() -> list[EvaluationRecord]:
    return [recorded(asked(0.0, right=False), asked(1.0, right=False), right=False, split=None)] * 2


def of_many_splits() -> list[EvaluationRecord]:
    return [
        recorded(asked(n / 10, right=n % 2 == 0), split=f"level {n}", benchmark=f"a long benchmark's name {n % 3}")
        for n in range(10)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("make", [unprobed, all_wrong, of_many_splits])
def test_any_records_can_be_drawn_and_told(tmp_path: Path, make: Callable[[], list[EvaluationRecord]]) -> None:
    records = make()
    rng = np.random.default_rng(0)
    passes = [served(records, records, rng, budget=0), served(records, records, rng, temperature=0.5)]
    figures = evaluation(records, passes, rng)
    file = tmp_path / "figure.png"
    draw(file, figures)
    assert struct.unpack(">II", file.read_bytes()[16:24]) >= (1000, 700)
    told = summary(figures)
    assert all(benchmark in told for benchmark in figures.breakdown.benchmarks)
    (way,) = (part for part in told.split("\n\n") if part.startswith("Really served"))
    assert len({len(line) for line in way.splitlines()[1:4]}) == 1  # columns stand below their heads


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text("before", encoding="utf-8")
    with pytest.raises(FileNotFoundError), replacing(file) as draft:
        draft.with_name("none").rename(draft)
    assert file.read_text("utf-8") == "before"
    with replacing(file) as draft:
        draft.write_text("after", encoding="utf-8")
    assert file.read_text("utf-8") == "after"
    assert list(tmp_path.iterdir()) == [file]
