"""A plain install lacks the extra `experiments`: what needs it says so in one line, before any work."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from laser.cli.common.extras import EXPERIMENTS, needs
from laser.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("matplotlib", ["evaluate", "--plot", "figures.png"]),
        ("matplotlib", ["analyze", "--out", "analysis"]),
        ("matplotlib", ["experiment", "report", "smoke.yaml"]),
        ("optuna", ["experiment", "tune", "smoke.yaml", "--policy", "LASER", "--training", "1"]),
    ],
)
def test_a_command_says_what_to_install(
    module: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {module} is not installed, this needs it: pip install {module}, in a checkout "
        "pip install -c constraints.txt -e '.[experiments]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_installed_is_not_complained_about() -> None:
    for module in EXPERIMENTS:
        needs(module)


def test_the_extra_holds_what_the_commands_ask_for() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = project["optional-dependencies"]["experiments"]
    assert sorted(one.partition(">")[0] for one in wanted) == sorted(EXPERIMENTS)
    assert not [one for one in project["dependencies"] if one.startswith(EXPERIMENTS)]
