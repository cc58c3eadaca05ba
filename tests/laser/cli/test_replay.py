"""`laser replay` end to end: a log that comes out the same, one that does not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from models.profile.profile import write_profile
from tests.support.decision_records import LOGGED, logged
from tests.support.driven_controller import PROFILE


def replay(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("profiles") / "profile.json"
    write_profile(file, PROFILE)
    return file


def test_a_log_that_comes_out_the_same_ends_well(profile: Path) -> None:
    result = replay(LOGGED, "--profile", profile)
    assert result.exit_code == 0, result.output
    assert "2 decisions, 1 policy maps solved again" in result.output
    assert "No decisions come out otherwise" in result.output


def test_a_log_that_comes_out_otherwise_ends_with_status_1_and_says_where(profile: Path, tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    other = logged(1)
    other["held"]["points"] = [20, 20, 0]
    log.write_text(json.dumps(logged(0)) + "\n" + json.dumps(other) + "\n", encoding="utf-8")
    result = replay(log, "--profile", profile)
    assert result.exit_code == 1
    assert "1 decisions come out otherwise" in result.output
    assert "2, at 3.0 s, policy map: hard never/none → 0.8/none" in result.output


def test_another_policy_than_the_one_that_served_decides_otherwise(profile: Path) -> None:
    result = replay(LOGGED, "--profile", profile, "--policy", "budgets-only")
    assert result.exit_code == 1
    assert "2 decisions come out otherwise" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("none.jsonl",), "none.jsonl: cannot be read"),
        ((LOGGED, "--profile", "none.json"), "none.json: cannot be read"),
        ((LOGGED, "--risk", "0.0001"), "for which the profile is too small"),
    ],
)
def test_what_cannot_be_replayed_is_refused(arguments: tuple[str | Path, ...], complaint: str) -> None:
    result = replay(*arguments)
    assert result.exit_code == 1
    assert complaint in result.output
