"""`laser analyze` end to end: its files, its tables, and what it refuses."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from models.profile.profile import write_profile
from tests.support.analysis_profile import made_profile
from tests.support.decision_records import logged

FIGURES = ("fronts", "policy_map", "policy_cuts", "prices", "capacity", "checks", "wrong_beliefs")


def analyze(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["analyze", *map(str, arguments)])


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("profiles") / "profile.json"
    write_profile(file, made_profile(certified_to=5))
    return file


ENTRY = logged(0) | {
    "time_s": 0.0, "rate": 5.0, "mix": [0.4, 0.35, 0.25], "work_ratio": [1.0, 1.1, 1.0],
    "step_time": [4e-3, 3e-4, 2e-7],
    "threshold": [1.01, 0.97, 0.9], "budget": [640, 640, 400], "accuracy": [0.96, 0.89, 0.72], "shed": [0.0, 0.0, 0.0],
    "demand": 900.0, "in_system": 6.0, "rung": "joint program", "failed": False, "solve": 1, "solve_s": 0.004,
}  # fmt: skip


@pytest.fixture(scope="module")
def analysed(profile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("analysed") / "new"
    log = out.parent / "decisions.jsonl"
    entries = [{**ENTRY, "time_s": 5.0 * n, "rate": 4.0 + n % 3, "failed": n == 2} for n in range(8)]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    controller = out.parent / "controller.yaml"
    controller.write_text("outer_s: 3.0\nobjective:\n  latency_weight: 0.002\n", encoding="utf-8")
    result = analyze(
        "--profile", profile, "--rates", "9,4", "--mix", "easy=1,hard=1", "--controller", controller, "--log", log,
        "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out, result


@pytest.mark.slow
def test_all_files_are_written(analysed: tuple[Path, Result]) -> None:
    out, result = analysed
    names = {f"{name}.png" for name in (*FIGURES, "replay")}
    assert {file.name for file in out.iterdir()} == names | {"analysis.json", "policy_table.json"}
    for name in names:
        assert struct.unpack(">II", (out / name).read_bytes()[16:24]) >= (1000, 500)
        assert name in result.output


@pytest.mark.slow
def test_the_json_tells_all_seven(analysed: tuple[Path, Result]) -> None:
    said = json.loads((analysed[0] / "analysis.json").read_text("utf-8"))
    assert set(said) == {
        "provenance", "situation", "fronts", "maps", "sweep", "capacity", "checks", "misspecification", "levers",
        "replay",
    }  # fmt: skip
    assert said["situation"]["mix"] == [0.5, 0.0, 0.5]
    assert said["situation"]["rates"] == said["fronts"]["rates"] == [4.0, 9.0]
    assert said["situation"]["objective"]["latency_weight"] == 0.002
    assert said["provenance"]["options"]["profile_file"] == "profile.json"  # no paths of this machine
    assert said["replay"]["failures"] == 1
    assert set(said["replay"]["entries"][0]) == {
        "time_s", "rate", "mix", "work_ratio", "step_time", "threshold", "budget", "accuracy", "shed", "demand",
        "in_system", "rung", "failed", "solve_s", "solve",
    }  # fmt: skip
    assert said["replay"]["entries"][0]["step_time"] == [4e-3, 3e-4, 2e-7]
    assert said["situation"]["points"][0] == {"threshold": 1.01, "budget": 640}  # never, and no budget
    assert said["fronts"]["joint"]["settings"][-1][2] in said["situation"]["points"]


def test_the_policy_table_can_be_served_by(analysed: tuple[Path, Result], profile: Path) -> None:
    table = json.loads((analysed[0] / "policy_table.json").read_text("utf-8"))["table"]
    assert table["weights_sha256"] == "ab" * 32
    assert table["classes"] == ["easy", "medium", "hard"]
    assert table["thresholds"][0][0][2] is None
    assert (table["thresholds"][-1][-1][2], table["budgets"][-1][-1][2]) in {(None, 90), (0.8, 90)}  # the cheapest


def test_the_terminal_tells_what_matters(analysed: tuple[Path, Result]) -> None:
    told = analysed[1].output[analysed[1].output.index("With full thought tiny bears ") :].splitlines()
    assert any(line.startswith("At 9 requests/s full thought ") for line in told[:4])
    for part in ("easy 50%, medium 0%, hard 50%", "full thought", "at 9/s", "Wrong beliefs", "6  The log: 8 decisions"):
        assert part in analysed[1].output


@pytest.mark.slow
def test_without_out_there_are_only_tables(profile: Path) -> None:
    before = sorted(profile.parent.iterdir())
    result = analyze("--profile", profile, "--rate", "300", "--uncertified")
    assert result.exit_code == 0, result.output
    assert "35 operating points" in result.output
    assert "some are turned away" in result.output
    assert sorted(profile.parent.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("certified_to", [0, 7])
def test_any_profile_can_be_drawn(tmp_path: Path, certified_to: int) -> None:
    """One with the full thought alone, and one at a rate beyond all that can be borne."""
    write_profile(tmp_path / "profile.json", made_profile(certified_to=certified_to))
    result = analyze("--profile", tmp_path / "profile.json", "--rate", "100", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == len(FIGURES)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--mix", "tricky=1"), "there is no class 'tricky', there are easy, medium, hard"),
        (("--mix", "easy"), "'easy' is no share of a class such as easy=0.5"),
        (("--mix", "easy=-1"), "must be finite and at least 0"),
        (("--mix", "easy=0"), "one share must be above 0"),
        (("--rate", "-1"), "-1 requests/s must be finite and above 0"),
        (("--rates", "1,nan"), "must be finite and above 0"),
        (("--rates", "many"), "is no list of requests/s"),
        (("--rate", "1", "--rates", "2"), "give one of them"),
        (("--log", "none.jsonl"), "none.jsonl: cannot be read"),
        (("--controller", "none.yaml"), "none.yaml: cannot be read"),
        (("--profile", "none.json"), "`laser calibrate` makes one"),
    ],
)
def test_what_cannot_be_is_refused(profile: Path, arguments: tuple[str, ...], complaint: str) -> None:
    result = analyze("--profile", profile, *arguments)
    assert result.exit_code != 0
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_a_damaged_profile_is_refused(profile: Path, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(profile.read_text("utf-8").replace("0.97", "0.87"), encoding="utf-8")
    result = analyze("--profile", file)
    assert result.exit_code == 1
    assert "damaged or edited" in result.output


def test_a_controller_file_with_other_classes_floors_is_refused(profile: Path, tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective: {accuracy_floors: [0.5]}\n", encoding="utf-8")
    result = analyze("--profile", profile, "--controller", file)
    assert result.exit_code == 1
    assert f"{file}: `objective.accuracy_floors` has 1 entries, must have 3 or none" in result.output
