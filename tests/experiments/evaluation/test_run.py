"""Evaluating a model: its figures and its records agree with one another, and any file of questions will do."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.evaluation.figure import draw
from experiments.evaluation.report import write_json, write_records
from experiments.evaluation.run import EvaluationSettings, evaluate_model
from experiments.evaluation.summary import summary
from experiments.provenance import provenance
from models.reasoner import bundled_model
from models.reasoner.tasks import FAMILIES, SPLITS
from tests.support.examples import run_example

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Written:
    """What an evaluation says, and what is written of it."""

    told: str
    figures: dict[str, Any]
    records: list[dict[str, Any]]
    picture: bytes


def run(directory: Path, settings: EvaluationSettings) -> Written:
    figures, records, picture = directory / "figures.json", directory / "records.jsonl", directory / "figure.png"
    found = evaluate_model(settings)
    write_records(records, found.records)
    write_json(figures, found.figures, provenance(found.directory, threads=1, options={}))
    draw(picture, found.figures)
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]  # no draft is left
    return Written(
        told=summary(found.figures),
        figures=json.loads(figures.read_text("utf-8")),
        records=[json.loads(line) for line in records.read_text("utf-8").splitlines()],
        picture=picture.read_bytes(),
    )


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The bundled model on three questions of each bundled benchmark."""
    settings = EvaluationSettings(count=3, budgets=(40, 120), served=0.9, temperature=0.7)
    return run(tmp_path_factory.mktemp("evaluated"), settings)


def mean(values: list[Any]) -> float:
    return sum(values) / len(values)


def test_accuracy_and_lengths_agree_with_the_records(bundled: Written) -> None:
    assert len(bundled.records) == 3 * len(FAMILIES)
    found = bundled.figures["breakdown"]
    assert list(found["benchmarks"]) == list(FAMILIES)
    for family, benchmark in found["benchmarks"].items():
        mine = [one for one in bundled.records if one["benchmark"] == family]
        assert benchmark["all"]["accuracy"]["count"] == len(mine) == 3
        assert benchmark["all"]["accuracy"]["share"] == pytest.approx(mean([one["right"] for one in mine]))
        assert benchmark["all"]["thought"]["mean"] == pytest.approx(mean([one["thought_tokens"] for one in mine]))
        assert sum(benchmark["all"]["thought"]["histogram"]) == 3
        assert sum(split["accuracy"]["count"] for split in benchmark["splits"].values()) == 3
        assert set(benchmark["splits"]) == {one["split"] for one in mine} <= set(SPLITS)


@pytest.mark.parametrize("score", ["geometric_mean", "joint"])
def test_the_threshold_sweep_agrees_with_the_records(bundled: Written, score: str) -> None:
    name = "confidence" if score == "geometric_mean" else "joint"
    for point in bundled.figures["thresholds"][score]["all"]:
        right = tokens = exits = 0
        for one in bundled.records:
            places = [i for i, probe in enumerate(one["probes"]) if probe[name] >= point["threshold"]]
            if places:
                probe, asked = one["probes"][places[0]], one["probes"][: places[0] + 1]
                right += probe["right"]
                tokens += probe["thought_tokens"] + probe["beyond"] + sum(before["rows"] for before in asked) + 2
            else:
                right += one["right"]
                tokens += one["rows"]
            exits += bool(places)
        count = len(bundled.records)
        assert (point["accuracy"], point["tokens"], point["exits"]) == pytest.approx(
            (right / count, tokens / count, exits / count)
        )
        full = sum(one["tokens"] for one in bundled.records)
        assert point["saved"] == pytest.approx(1 - tokens / full)
        base = mean([one["right"] for one in bundled.records])
        assert point["against"]["points_lost"] == pytest.approx(100 * (base - right / count))


def test_calibration_agrees_with_the_records(bundled: Written) -> None:
    probes = [probe for one in bundled.records for probe in one["probes"]]
    found = bundled.figures["calibration"]["all"]
    assert found["right"]["count"] == len(probes)
    assert found["right"]["share"] == pytest.approx(mean([probe["right"] for probe in probes]))
    for score, name in (("geometric_mean", "confidence"), ("joint", "joint")):
        bins = found["scores"][score]["bins"]
        assert sum(one["count"] for one in bins) == len(probes)
        assert sum(one["count"] * one["score"] for one in bins if one["count"]) == pytest.approx(
            sum(probe[name] for probe in probes)
        )


def test_passes_are_really_served(bundled: Written) -> None:
    ways = [(one["budget"], one["threshold"], one["temperature"]) for one in bundled.figures["served"]]
    assert ways == [(40, None, 0.0), (120, None, 0.0), (None, 0.9, 0.0), (None, None, 0.7)]
    short, long, closed, _ = bundled.figures["served"]
    assert short["tokens"] < long["tokens"]
    told = next(one for one in bundled.figures["thresholds"]["geometric_mean"]["all"] if one["threshold"] == 0.9)
    assert closed["tokens"] == pytest.approx(told["tokens"], rel=0.1)
    assert all(one["accuracy"]["count"] == len(bundled.records) for one in bundled.figures["served"])


def test_the_figure_is_a_picture(bundled: Written) -> None:
    assert bundled.picture.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", bundled.picture[16:24])
    assert (width, height) >= (1000, 700)


def test_the_summary_shows_every_benchmark_and_pass(bundled: Written) -> None:
    for text in (*FAMILIES, *SPLITS, "AUROC", "budget 40", "threshold 0.90", "temperature 0.70", "95 %"):
        assert text in bundled.told


def test_conclusions_of_a_thinking_format_count_what_verification_does(tmp_path: Path) -> None:
    file = tmp_path / "format.yaml"
    kept = [
        line for line in (bundled_model() / "laser.yaml").read_text("utf-8").splitlines() if "conclusions" not in line
    ]
    file.write_text("\n".join([*kept, 'conclusions: ["result is"]\n']), encoding="utf-8")
    written = run(tmp_path, EvaluationSettings(count=2, budgets=(), thinking=file))
    assert written.figures["served"] == []
    counted = [one for one in written.records if one["first_answer"] is not None]
    firsts = [one["probes"][one["first_answer"]] for one in counted]
    found = written.figures["breakdown"]["all"]["verification"]
    assert found["counted"] == len(counted) > 0
    assert found["first_accuracy"]["share"] == pytest.approx(mean([first["right"] for first in firsts]))
    pairs = [(first["right"], one["right"]) for first, one in zip(firsts, counted, strict=True)]
    assert (found["fixed"], found["broken"]) == (pairs.count((False, True)), pairs.count((True, False)))
    spared = [1 - first["thought_tokens"] / one["thought_tokens"] for first, one in zip(firsts, counted, strict=True)]
    assert found["share"] == pytest.approx(mean(spared))


def test_a_gsm8k_file_can_be_asked_of_the_bundled_model(tmp_path: Path) -> None:
    file = tmp_path / "school.jsonl"
    lines = [
        {"question": f"Ali has {n} eggs and sells half of them for $2 each. How much?", "answer": f"{n}/2*2\n#### {n}"}
        for n in (6, 8, 10)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    written = run(tmp_path, EvaluationSettings(files=(file,), count=2, max_tokens=160, budgets=(30,)))
    assert [(one["benchmark"], one["split"]) for one in written.records] == [("school", None)] * 2
    assert all(0 < one["tokens"] <= 160 for one in written.records)  # right or wrong, every question ends
    assert written.figures["breakdown"]["benchmarks"]["school"]["splits"] == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_tokens": 0}, "max_tokens is 0, must be at least 1"),
        ({"budgets": (40, -5)}, "a budget is -5, must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        EvaluationSettings(**changes)


def test_the_example_works() -> None:
    run_example(evaluate_model)
