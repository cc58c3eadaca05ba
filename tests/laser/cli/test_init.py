"""`laser init` lays out what README and docs/ name, and leaves alone what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments.trials.experiment import read_experiment
from laser.cli.main import main
from laser.server.config import ServeConfig
from models.files.strict_yaml import read
from models.shipped import PLACES, shipped_configs

ROOT = Path(__file__).parents[3]


def lay_out(directory: Path | str) -> str:
    done = CliRunner().invoke(main, ["init", str(directory)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_checkout_s_own_files_are_those_that_ship() -> None:
    assert shipped_configs() == ROOT / "configs"


def test_the_wheel_has_them_where_they_are_looked_for_first() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "configs" in wheel["only-include"]
    assert [ROOT / wheel["sources"]["configs"], ROOT / "configs"] == list(PLACES)


def test_every_file_is_laid_out_and_told_in_a_line(tmp_path: Path) -> None:
    told = lay_out(tmp_path / "new" / "configs").splitlines()
    files = sorted(file.relative_to(shipped_configs()) for file in shipped_configs().rglob("*.yaml"))
    assert len(files) == len(told) > 8
    for file in files:
        copy = tmp_path / "new" / "configs" / file
        assert copy.read_bytes() == (shipped_configs() / file).read_bytes()
        (line,) = (line for line in told if line.startswith(f"{copy} "))
        assert 10 < len(line.removeprefix(str(copy)).strip()) <= 90
    assert (tmp_path / "new" / "configs" / "keys.yaml").stat().st_mode & 0o077 == 0


def test_what_is_laid_out_can_be_read_where_it_lies(tmp_path: Path) -> None:
    lay_out(tmp_path)
    assert read(tmp_path / "serve.yaml", ServeConfig) == ServeConfig()
    for file in (tmp_path / "experiments").glob("*.yaml"):
        assert read_experiment(file).policies


def test_documents_name_only_files_that_are_laid_out() -> None:
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    named = {name for page in pages for name in re.findall(r"configs/([\w./-]*\w)", page.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert {name for name in named if not (shipped_configs() / name).exists()} == set()


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("keys: []\n", encoding="utf-8")
    (line,) = (line for line in lay_out(tmp_path).splitlines() if "keys.yaml" in line and "kept" in line)
    assert line.endswith("yours differs and is kept")
    assert (tmp_path / "keys.yaml").read_text(encoding="utf-8") == "keys: []\n"
    again = lay_out(tmp_path)
    assert again.count("kept") == 1
    assert again.count("is there already") == len(again.splitlines()) - 1


@pytest.mark.parametrize(
    ("there", "named", "said"),
    [
        ("configs", "configs", "configs: cannot be made a directory: File exists"),
        ("configs", "configs/inner", "configs/inner: cannot be made a directory: Not a directory"),
        ("configs/experiments", "configs", "experiments: cannot be made a directory: File exists"),
        ("configs/serve.yaml/x", "configs", "serve.yaml: is no file, must be one"),
    ],
)
def test_a_place_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, there: str, named: str, said: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    done = CliRunner().invoke(main, ["init", str(tmp_path / named)])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith(f"{said}\n")
    assert done.stderr.count("\n") == 1
