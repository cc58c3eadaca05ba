"""`laser calibrate` end to end on the bundled model: its profile, killed and resumed runs, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from models.chat_model import load_chat_model
from models.profile.certificate import certify
from models.profile.profile import Profile, identify, read_profile
from models.reasoner import bundled_model

pytestmark = pytest.mark.slow

QUICK = ("-n", "14", "--epsilon", "0.5", "--delta", "0.1", "--max-tokens", "320")
DEADLINE_S = 120.0


def calibrate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)])


def records(profile: Path) -> Path:
    return profile.with_name(f"{profile.name}.records.jsonl")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The bundled model on 14 questions of each benchmark."""
    path = tmp_path_factory.mktemp("calibrated") / "profile.json"
    result = calibrate(*QUICK, "--out", path)
    assert result.exit_code == 0, result.output
    return path, result


@pytest.fixture
def profile(calibrated: tuple[Path, Result]) -> Profile:
    return read_profile(calibrated[0])


def measured(path: Path) -> dict[str, object]:
    """What two runs must agree on: all but what clocks and dates say."""
    found = read_profile(path)
    return {name: getattr(found, name) for name in Profile.__slots__ if name not in ("plant", "probe", "provenance")}


def test_the_profile_is_of_the_model_it_was_measured_on(calibrated: tuple[Path, Result]) -> None:
    path, _ = calibrated
    directory = bundled_model()
    found = read_profile(path, identify(directory, load_chat_model(directory).thinking.format))
    assert found.model.name == "laser-reasoner"
    assert found.provenance["options"]["count"] == 14
    assert sorted(one.name for one in path.parent.iterdir()) == ["profile.json", "profile.json.records.jsonl"]


def test_tables_hang_together(profile: Profile) -> None:
    tokens, square, accuracy = np.array(profile.tokens), np.array(profile.square), np.array(profile.accuracy)
    assert sum(profile.counts) == 56
    assert profile.thresholds[0] is profile.budgets[0] is None
    assert len(profile.budgets) > 3
    assert ((accuracy >= 0.0) & (accuracy <= 1.0)).all()
    assert (square >= np.square(tokens) * (1 - 1e-9)).all()
    assert (np.array(profile.p95_steps) > 0).all()
    assert (np.diff(tokens[:, 0, :], axis=1) <= 0).all()  # shorter budgets cost less where nothing is probed
    assert sum(map(sum, profile.confusion)) == 56
    assert profile.plant.step_time.seconds(8, 100.0) > 0.0
    assert profile.probe.rows > 5.0
    assert profile.tables().tokens.shape == (3, len(profile.points()))
    assert profile.plant_model().capacity > 0.0


def test_tables_agree_with_the_records(calibrated: tuple[Path, Result], profile: Profile) -> None:
    traces = [
        json.loads(line)["trace"] for line in records(calibrated[0]).read_text().splitlines() if '"trace"' in line
    ]
    weights = np.array(profile.counts) / 56
    full = weights @ np.array(profile.tokens)[:, 0, 0], weights @ np.array(profile.accuracy)[:, 0, 0]
    assert full[0] == pytest.approx(np.mean([one["tokens"] for one in traces]))
    assert full[1] == pytest.approx(np.mean([one["right"] for one in traces]))


def test_questions_that_chose_the_budgets_do_not_certify_them(profile: Profile) -> None:
    assert profile.certificate.count == 56 - 48
    assert profile.certificate == certify(profile.certificate.harmed, 8, epsilon=0.5, delta=0.1)


def test_a_prompt_gets_its_class_from_the_profile(profile: Profile) -> None:
    chat = load_chat_model(bundled_model())
    told = profile.difficulty.classify(chat.prompt([{"role": "user", "content": "What is 12 + 30?"}]))
    assert told in profile.classes


def test_the_summary_tells_what_may_be_used_and_where_it_is(calibrated: tuple[Path, Result]) -> None:
    path, result = calibrated
    for part in ("told easy", "Certified on 8 questions", "Step: ", "token rows", f"Profile: {path}"):
        assert part in result.output


def test_other_levels_and_budgets_need_no_thought_decoded_again(
    calibrated: tuple[Path, Result], tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    before = records(calibrated[0]).read_bytes()
    records(path).write_bytes(before)
    result = calibrate(*QUICK, "--out", path, "--delta", "0.2", "--budgets", "150,60", "--score", "joint")
    assert result.exit_code == 0, result.output
    added = records(path).read_bytes().removeprefix(before)
    assert b'"closing"' in added
    assert b'"trace"' not in added
    found = read_profile(path)
    assert (found.budgets, found.score, found.certificate.delta) == ((None, 150, 60), "joint", 0.2)
    assert found.certificate.count == 56  # no question was needed to choose budgets


def test_a_killed_run_goes_on_to_the_same_profile(calibrated: tuple[Path, Result], tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    command = [sys.executable, "-m", "laser", "calibrate", *QUICK, "--out", str(path)]
    lines_then = []
    for least in (12, 70):  # once among the thoughts, once among the budgets
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
            for seen in _growing(records(path), running):
                if seen > least:
                    break
            running.send_signal(signal.SIGKILL)
        lines_then.append(records(path).read_bytes().rpartition(b"\n")[0])
        assert not path.exists()  # whole or not at all
    resumed = calibrate(*QUICK, "--out", path)
    assert resumed.exit_code == 0, resumed.output
    now = records(path).read_bytes()
    assert all(now.startswith(then) for then in lines_then)
    pieces = now.splitlines()[1:]
    assert len({_key(line) for line in pieces}) == len(pieces)  # nothing twice
    assert measured(path) == measured(calibrated[0])


def _growing(path: Path, running: subprocess.Popen[bytes]) -> Iterator[int]:
    """How many lines a file has, again and again while it is written."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert running.poll() is None, running.stderr and running.stderr.read()
        yield path.read_bytes().count(b"\n") if path.exists() else 0
        time.sleep(0.01)
    raise AssertionError(f"{path} has not grown within {DEADLINE_S} s")


def _key(line: bytes) -> tuple[int, int | None]:
    piece = json.loads(line)
    one = piece.get("trace") or piece["closing"]
    return one["number"], one.get("budget")


def test_too_few_questions_are_refused_at_once_with_the_number_needed(tmp_path: Path) -> None:
    result = calibrate("-n", "10", "--out", tmp_path / "p.json")
    assert result.exit_code == 1
    assert "there are 40 questions, must be at least 211" in result.output
    assert "takes 163 for 7 budgets, besides 48 that choose the budgets" in result.output
    assert list(tmp_path.iterdir()) == []
    result = calibrate("-n", "10", "--budgets", "100", "--out", tmp_path / "p.json")
    assert "there are 40 questions, must be at least 122" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--epsilon", "0"), "0<x<1"),
        (("--delta", "1"), "0<x<1"),
        (("--budgets", "many"), "'many' is no list of tokens"),
        (("--budgets", "0,5"), "0 is below 1"),
        (("--budgets", ""), "is no list of tokens"),
        (("--score", "minimum"), "'minimum' is not one of"),
        (("--out", "nowhere/profile.json"), "there is no directory 'nowhere'"),
        (("--model", "nowhere"), "nowhere"),
        (("--questions", "nowhere.jsonl"), "nowhere.jsonl: cannot be read"),
    ],
)
def test_bad_options_are_told(arguments: tuple[str, ...], told: str) -> None:
    result = calibrate(*QUICK, *arguments)
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_format_whose_exits_answer_anew_is_refused(tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    form.write_text("keep: close\n")
    result = calibrate(*QUICK, "--thinking", form, "--out", tmp_path / "profile.json")
    assert result.exit_code == 1
    assert "has keep: close, must be answer" in result.output


def test_records_of_other_questions_are_not_mixed_in(calibrated: tuple[Path, Result]) -> None:
    path, _ = calibrated
    before = records(path).read_bytes()
    result = calibrate(*QUICK, "--out", path, "--seed", "9")
    assert result.exit_code == 1
    assert "was begun with questions_sha256" in result.output
    assert records(path).read_bytes() == before
