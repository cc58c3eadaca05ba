"""`laser evaluate` as a user meets it: the files it writes, what it says, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from models.reasoner import bundled_model

pytestmark = pytest.mark.slow


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_files_are_written_as_the_flags_say(tmp_path: Path) -> None:
    file = tmp_path / "school.jsonl"
    lines = [
        {"question": f"Ali has {n} eggs and sells half of them for $2 each. How much?", "answer": f"{n}/2*2\n#### {n}"}
        for n in (6, 8, 10)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    figures, records, picture = tmp_path / "figures.json", tmp_path / "records.jsonl", tmp_path / "figure.png"
    written = ("--json", figures, "--records", records, "--plot", picture)
    served = ("--budgets", "30", "--served", "0.9", "--temperature", "0.7")
    done = evaluate("--questions", file, "-n", "2", "--max-tokens", "160", *served, *written)
    assert done.exit_code == 0, done.output
    for text in ("school", "AUROC", "budget 30", "threshold 0.90", "temperature 0.70", "95 %"):
        assert text in done.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "school.jsonl", "figures.json", "records.jsonl", "figure.png",
    }  # fmt: skip # no draft is left
    assert len(records.read_text("utf-8").splitlines()) == 2
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    said = json.loads(figures.read_text("utf-8"))
    ways = [(one["budget"], one["threshold"], one["temperature"]) for one in said["served"]]
    assert ways == [(30, None, 0.0), (None, 0.9, 0.0), (None, None, 0.7)]
    origin = said["provenance"]
    weights = bundled_model() / "model.safetensors"
    assert origin["weights_sha256"] == {"model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert (origin["model"], origin["threads"]) == (bundled_model().name, 1)
    assert origin["options"]["count"] == 2
    assert origin["options"]["seed"] == 1
    assert origin["options"]["files"] == ["school.jsonl"]
    assert origin["options"]["figures_file"] == "figures.json"  # a name tells no one where files lie
    assert {"laser", "torch", "processor", "date"} <= origin.keys()


def test_no_budget_need_be_served(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = evaluate("-n", "1", "--budgets", "none", "--max-tokens", "60", "--json", figures)
    assert done.exit_code == 0, done.output
    assert json.loads(figures.read_text("utf-8"))["served"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--questions", "none.jsonl"], "Error: none.jsonl: cannot be read: No such file or directory\n"),
        (["--budgets", "10,x"], "'10,x' is no list of tokens such as 40,80,160, nor `none`"),
        (["--budgets", "10,-5"], "-5 is below 0"),
        (["--json", "nowhere/f.json"], "there is no directory 'nowhere'"),
        (["--temperature", "0"], "0.0 is not in the range 0.0<x<=100.0"),
        (["--model", "nothing"], "nothing"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = evaluate(*arguments)
    assert done.exit_code in (1, 2)
    assert told in done.output
    assert "Traceback" not in done.output
