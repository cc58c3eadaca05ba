"""`laser simulate` end to end: its table, its file, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from tests.away import lever_commands
from tests.support.calibrations import save_calibration

LEVERS = [command for command in lever_commands() if command.startswith("laser simulate")]


def simulate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, with records beside it."""
    return save_calibration(tmp_path_factory.mktemp("profiles"))


def test_a_load_is_served_in_virtual_time(profile: Path, tmp_path: Path) -> None:
    out = tmp_path / "requests.json"
    result = simulate("--profile", profile, "--rate", 2, "--duration", 50, "--policy", "fixed", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Simulated, fixed" in result.output
    assert "thoughts ended: confidence 100.0%" in result.output
    said = json.loads(out.read_text())
    assert said["simulated"] is True
    records = said["records"]
    assert len(records) > 50
    assert said["provenance"]["options"]["profile_file"] == "profile.json"


def test_flags_reach_the_simulation(profile: Path) -> None:
    options = ("--cv", 4, "--policy", "fixed", "--threshold", "0.999")
    result = simulate("--profile", profile, "--rate", 2, "--duration", 20, *options)
    assert result.exit_code == 0, result.output
    assert "Simulated, fixed" in result.output
    assert "natural 100.0%" in result.output
    result = simulate("--profile", profile, "--rate", 2, "--duration", 20, "--policy", "budget", "--budget", 90)
    assert "Simulated, budget" in result.output
    assert "budget 100.0%" in result.output


def test_other_orders_of_the_same_requests_are_told(profile: Path) -> None:
    options = ("--policy", "none", "--max-batch", 1, "--orders", "--head-start-s", 2, "--pauses")
    result = simulate("--profile", profile, "--rate", 2, "--duration", 20, *options)
    assert result.exit_code == 0, result.output
    assert "By the head start of short thoughts" in result.output
    assert "inf" in result.output


def test_a_workload_may_come_from_a_file(profile: Path, tmp_path: Path) -> None:
    file = tmp_path / "burst.yaml"
    file.write_text("kind: flash-crowd\nrate: 1\npeak: 5\nat_s: 5\n")
    result = simulate("--profile", profile, "--workload", file, "--duration", 30, "--policy", "none")
    assert result.exit_code == 0, result.output
    file.write_text("kind: flash-crowd\nrate: 1\npeek: 5\nat_s: 5\n")
    result = simulate("--profile", profile, "--workload", file)
    assert result.exit_code == 1
    assert "burst.yaml:3:1: unknown key `peek`; did you mean `peak`?" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give either --workload or --rate"),
        (("--rate", "1", "--workload", "x.yaml"), "give either --workload or --rate"),
        (("--workload", "x.yaml", "--cv", "2"), "--cv goes with --rate"),
        (("--rate", "1", "--threshold", "0.9"), "threshold is 0.9, but policy is load-aware, which has none"),
        (("--rate", "1", "--policy", "none", "--budget", "9"), "budget is 9, but policy is none, which has none"),
        (("--rate", "1", "--policy", "none", "--risk", "0.1"), "risk is 0.1, but policy is none, which has none"),
        (("--rate", "1", "--risk", "0.001"), "risk is 0.001, for which the profile is too small"),
        (("--rate", "1", "--policy", "budget"), "policy is budget, which needs one"),
        (("--rate", "1", "--policy", "budget", "--budget", "61"), "budget is 61, must be one of "),
        (("--rate", "1", "--out", "nowhere/x.json"), "there is no directory 'nowhere'"),
        (
            ("--rate", "1", "--records", "nowhere.jsonl"),
            "nowhere.jsonl: does not exist; `laser calibrate` records thoughts",
        ),
        (("--rate", "1e-9", "--duration", "1"), "no request arrives within 1 s, must be at least 1"),
        (("--rate", "1e9"), "must be at most 10000000"),
        (("--rate", "2", "--head-start-s", "nan"), "Invalid value for '--head-start-s': nan is not a number."),
        (("--rate", "2", "--pauses"), "pauses is true, but head_start_s is 0"),
    ],
)
def test_what_cannot_be_simulated_is_told(profile: Path, options: tuple[str, ...], said: str) -> None:
    result = simulate("--profile", profile, *options)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_missing_profile_is_told(tmp_path: Path) -> None:
    result = simulate("--rate", 1, "--profile", tmp_path / "none.json")
    assert result.exit_code == 1
    assert "`laser calibrate` makes one" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("command", LEVERS)
def test_readme_s_levers_run_on_the_bundled_profile(command: str) -> None:
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--duration", "4"])
    assert result.exit_code == 0, result.output
    assert "Simulated, " in result.output


def test_readme_s_table_of_levers_is_read() -> None:
    assert len(LEVERS) > 6
    assert [command for command in LEVERS if " --set " in command]
