"""Calibrating the bundled model: its profile, killed and resumed runs, and what is refused."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.calibration.looks import looks_of
from experiments.calibration.profile import Levels, ShortOfData
from experiments.calibration.races.racing import replies_of
from experiments.calibration.races.sampled import read_replies
from experiments.calibration.run import Calibrated, CalibrationSettings, calibrate
from experiments.calibration.summary import summary
from experiments.calibration.traces import TraceError, read_records
from experiments.simulation.levers_of_records import add_levers
from experiments.simulation.width_of_records import raced
from models.chat_model import load_chat_model
from models.files.strict_yaml import ConfigError
from models.profile.certificate import certify
from models.profile.identity import identify
from models.profile.profile import Profile, read_profile
from models.reasoner import bundled_model
from models.reasoner.tasks import FAMILIES
from models.score import Score
from tests.support.examples import run_example

pytestmark = pytest.mark.slow

COUNT = 12  # of each benchmark
ALL = COUNT * len(FAMILIES)
PILOT = 48  # choose the budgets
CERTIFYING = ALL - PILOT
QUICK = ("-n", f"{COUNT}", "--epsilon", "0.5", "--delta", "0.1", "--max-tokens", "541")
DEADLINE_S = 120.0


def settings(path: Path, **changes: Any) -> CalibrationSettings:
    """What QUICK says to the command line."""
    quick = CalibrationSettings(count=COUNT, levels=Levels(epsilon=0.5, delta=0.1), max_tokens=541, out=path)
    return replace(quick, **changes)


def records(profile: Path) -> Path:
    return profile.with_name(f"{profile.name}.records.jsonl")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """The bundled model on COUNT questions of each benchmark."""
    return calibrate(settings(tmp_path_factory.mktemp("calibrated") / "profile.json"))


@pytest.fixture
def profile(calibrated: Calibrated) -> Profile:
    return read_profile(calibrated.path)


def measured(path: Path) -> dict[str, object]:
    """What two runs must agree on: all but what clocks and dates say."""
    found = read_profile(path)
    return {name: getattr(found, name) for name in Profile.__slots__ if name not in ("plant", "probe", "provenance")}


def test_the_profile_is_of_the_model_it_was_measured_on(calibrated: Calibrated) -> None:
    path, directory = calibrated.path, bundled_model()
    found = read_profile(path, identify(directory, load_chat_model(directory).thinking.format))
    assert found.model.name == "laser-reasoner"
    assert found.provenance["options"]["count"] == COUNT
    assert sorted(one.name for one in path.parent.iterdir()) == ["profile.json", "profile.json.records.jsonl"]
    assert calibrated.records == records(path)
    assert calibrated.profile == found


def test_tables_hang_together(profile: Profile) -> None:
    tokens, square, accuracy = np.array(profile.tokens), np.array(profile.square), np.array(profile.accuracy)
    assert sum(profile.counts) == ALL
    assert profile.thresholds[0] is profile.budgets[0] is None
    assert len(profile.budgets) > 3
    assert ((accuracy >= 0.0) & (accuracy <= 1.0)).all()
    assert (square >= np.square(tokens) * (1 - 1e-9)).all()
    assert (np.array(profile.p95_steps) > 0).all()
    assert (np.diff(tokens[:, 0, :], axis=1) <= 0).all()  # shorter budgets cost less where nothing is probed
    assert sum(map(sum, profile.confusion)) == ALL
    assert profile.plant.step_time.seconds(8, 100.0) > 0.0
    assert profile.probe.rows > 5.0
    assert profile.tables().tokens.shape == (3, len(profile.points()))
    assert profile.plant_model().capacity > 0.0


def test_tables_agree_with_the_records(calibrated: Calibrated, profile: Profile) -> None:
    traces = [
        json.loads(line)["trace"] for line in records(calibrated.path).read_text().splitlines() if '"trace"' in line
    ]
    weights = np.array(profile.counts) / ALL
    full = weights @ np.array(profile.tokens)[:, 0, 0], weights @ np.array(profile.accuracy)[:, 0, 0]
    assert full[0] == pytest.approx(np.mean([one["tokens"] for one in traces]))
    assert full[1] == pytest.approx(np.mean([one["right"] for one in traces]))


def test_questions_that_chose_the_budgets_do_not_certify_them(profile: Profile) -> None:
    assert profile.certificate.count == CERTIFYING
    found = profile.certificate
    assert found == certify(found.harmed, CERTIFYING, epsilon=0.5, delta=0.1, evidence=found.evidence)


def test_what_else_was_seen_of_exits_is_kept(calibrated: Calibrated, profile: Profile) -> None:
    seen = profile.certificate.evidence
    assert seen is not None
    assert 0 < seen.right <= CERTIFYING
    assert 0 < seen.ended < CERTIFYING  # the short max_tokens cuts some thoughts
    assert seen.differing is not None
    assert (np.array(seen.differing) >= np.array(profile.certificate.harmed)).all()  # harm is one way to differ
    assert np.array(seen.differing).max() > 0
    assert profile.refused is None
    lines = [json.loads(line) for line in records(calibrated.path).read_text().splitlines()[1:]]
    probes = [probe for line in lines if "trace" in line for probe in line["trace"]["probes"]]
    assert {probe["graded_by"] for probe in probes} == {"exact"}
    assert {probe["same"] for probe in probes} == {True, False}
    assert {line["trace"]["natural"] for line in lines if "trace" in line} == {True, False}
    assert calibrated.grading.exact == sum("choice" not in line for line in lines) + len(probes)


def test_harm_is_counted_by_benchmark_within_the_classes_of_the_account(profile: Profile) -> None:
    seen, apart = profile.certificate.evidence, profile.benchmarks
    assert seen is not None
    assert seen.by_class is not None
    assert apart is not None
    assert apart.by_class is not None
    assert np.array_equal(np.sum(apart.by_class.counts, axis=1), seen.by_class.counts)
    assert np.array_equal(np.sum(apart.by_class.harmed, axis=1), seen.by_class.harmed)
    assert apart.of_classes() == (None, None, None)  # for want of questions


def test_a_prompt_gets_its_class_from_the_profile(profile: Profile) -> None:
    chat = load_chat_model(bundled_model())
    told = profile.difficulty.classify(chat.prompt([{"role": "user", "content": "What is 12 + 30?"}]))
    assert told in profile.classes


def test_the_summary_tells_what_may_be_used(profile: Profile) -> None:
    for part in ("told easy", f"Certified on {CERTIFYING} questions", "Step: ", "token rows"):
        assert part in summary(profile)


def test_other_levels_and_budgets_need_no_thought_decoded_again(calibrated: Calibrated, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    before = records(calibrated.path).read_bytes()
    records(path).write_bytes(before)
    levels = Levels(epsilon=0.5, delta=0.2)
    calibrate(settings(path, levels=levels, budgets=(150, 60), score=Score.JOINT))
    added = records(path).read_bytes().removeprefix(before)
    assert b'"closing"' in added
    assert b'"trace"' not in added
    found = read_profile(path)
    assert (found.budgets, found.score, found.certificate.delta) == ((None, 150, 60), "joint", 0.2)
    assert found.certificate.count == ALL  # no question was needed to choose budgets


def test_a_killed_run_goes_on_to_the_same_profile(calibrated: Calibrated, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    command = [sys.executable, "-m", "laser", "calibrate", *QUICK, "--out", str(path)]
    lines_then = []
    stops = ((12, signal.SIGKILL), (ALL + 14, signal.SIGTERM))  # among the thoughts, then among the budgets
    for least, number in stops:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
            for seen in _growing(records(path), running):
                if seen > least:
                    break
            running.send_signal(number)
            said = running.communicate()[1].decode()
        lines_then.append(records(path).read_bytes().rpartition(b"\n")[0])
        assert not path.exists()  # whole or not at all
    assert running.returncode == 128 + signal.SIGTERM
    line = shlex.join(["laser", *command[3:]])
    assert said.endswith(f"\nStopped; what is finished is kept. To go on: {line}\n")
    calibrate(settings(path))
    now = records(path).read_bytes()
    assert all(now.startswith(then) for then in lines_then)
    pieces = now.splitlines()[1:]
    assert len({_key(line) for line in pieces}) == len(pieces)  # nothing twice
    assert measured(path) == measured(calibrated.path)


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
    if "choice" in piece:
        return -1, None
    one = piece.get("trace") or piece["closing"]
    return one["number"], one.get("budget")


def test_too_few_questions_are_refused_at_once_with_the_number_needed(tmp_path: Path) -> None:
    few = CalibrationSettings(count=10, out=tmp_path / "p.json")
    with pytest.raises(ShortOfData, match=f"there are {10 * len(FAMILIES)} questions, must be at least 211") as refused:
        calibrate(few)
    assert f"takes 163 for 7 budgets, besides {PILOT} that choose the budgets" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ShortOfData, match=f"there are {10 * len(FAMILIES)} questions, must be at least 122"):
        calibrate(replace(few, budgets=(100,)))


def test_a_format_whose_exits_answer_anew_is_refused(tmp_path: Path) -> None:
    form = tmp_path / "form.yaml"
    form.write_text("keep: close\n")
    with pytest.raises(ConfigError, match="has keep: close, must be answer"):
        calibrate(settings(tmp_path / "profile.json", thinking=form))


def test_what_was_recorded_is_handed_on_as_the_file_holds_it(calibrated: Calibrated) -> None:
    assert calibrated.log == read_records(calibrated.records)
    assert calibrated.profile == read_profile(calibrated.path)


def test_records_of_another_length_are_not_mixed_in(calibrated: Calibrated) -> None:
    before = records(calibrated.path).read_bytes()
    with pytest.raises(TraceError, match="was begun with max_tokens 541, this run has 300"):
        calibrate(settings(calibrated.path, max_tokens=300))
    assert records(calibrated.path).read_bytes() == before


def test_more_questions_go_on_from_those_that_were_answered(calibrated: Calibrated, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(calibrated.path.read_bytes())
    before = b"".join(line for line in _lines(calibrated) if b'"choice"' not in line)  # as an earlier release did
    records(path).write_bytes(before)
    calibrate(settings(path))
    choice = records(path).read_bytes().removeprefix(before)
    assert choice == next(line for line in _lines(calibrated) if b'"choice"' in line)  # the same one, to last
    before += choice
    found = calibrate(settings(path, count=COUNT + 1))
    added = [json.loads(line) for line in records(path).read_bytes().removeprefix(before).splitlines()]
    assert sum("trace" in line for line in added) == len(FAMILIES)  # one more of each benchmark
    fresh = {line["trace"]["number"] for line in added if "trace" in line}
    assert {line["closing"]["number"] for line in added if "closing" in line} <= fresh  # the budgets are the same
    assert (found.reused, found.others) == (ALL, 0)
    assert found.profile.budgets == calibrated.profile.budgets
    assert sum(found.profile.counts) == ALL + len(FAMILIES)
    assert found.profile.certificate.count == CERTIFYING + len(FAMILIES)  # the same pilot chose them
    assert [len(one.profile.provenance["looked"]) for one in (calibrated, found)] == [1, 2]
    fewer = calibrate(settings(path, levels=Levels(epsilon=0.5, delta=0.2), budgets=(150, 60), count=8))
    assert (fewer.reused, fewer.others) == (8 * len(FAMILIES), (COUNT + 1 - 8) * len(FAMILIES))


def test_records_whose_pilot_leaves_too_few_are_refused_before_anything_is_decoded(
    calibrated: Calibrated, tmp_path: Path
) -> None:
    path = tmp_path / "profile.json"
    lines = [line for line in _lines(calibrated) if b'"choice"' not in line]
    pilot = [json.loads(line)["question"] for line in lines if b'"trace"' in line][: ALL - 4]
    choice = json.dumps({"choice": {"budgets": [10, 20, 30, 40, 50, 60], "pilot": pilot}})
    records(path).write_bytes(b"".join(lines) + choice.encode() + b"\n")
    before = records(path).read_bytes()
    with pytest.raises(
        ShortOfData, match=rf"there are {ALL} questions, must be at least {ALL + 3}: .* besides {ALL - 4} that choose"
    ):
        calibrate(settings(path))
    assert records(path).read_bytes() == before


def _lines(of: Calibrated) -> list[bytes]:
    return records(of.path).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"count": 0}, "count is 0, must be at least 1"),
        ({"seed": -1}, "seed is -1, must be at least 0"),
        ({"budgets": (40, 0)}, "a budget is 0, must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings(Path("profile.json"), **changes)


def test_width_samples_replies_beside_the_profile_and_tabulates_them(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    found = calibrate(settings(path, count=8, budgets=(60, 150), width=2))
    tables = found.profile.width
    assert tables is not None
    assert [(rule.width, rule.vote, rule.asked) for rule in tables.rules] == [(2, False, 0.0)]
    assert tables.count == 8 * len(FAMILIES)
    assert tables.refused is not None  # a class has too few questions
    written = replies_of(path).read_bytes()
    assert len(read_replies(replies_of(path))) == 2 * 8 * len(FAMILIES)
    assert calibrate(settings(path, count=8, budgets=(60, 150), width=2)).profile.width == tables
    assert replies_of(path).read_bytes() == written  # nothing is decoded again
    (made,) = add_levers(found.chat, bundled_model(), path, [partial(raced, path, 2)])
    assert made.width == tables
    assert looks_of(made) == looks_of(found.profile)  # the same look
    assert list(looks_of(made).values()) == [tables.delta] * 2  # one without races, one with


def test_the_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_example(calibrate)
