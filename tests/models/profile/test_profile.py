"""A profile's file says what was measured, whole and of this model, or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.files.envelope import sha256_of
from models.profile.certificate import evidence
from models.profile.identity import identify, weights_sha256
from models.profile.plant import StepTime
from models.profile.profile import OtherFormatError, ProfileError, checksum, read_profile, write_profile
from models.profile.tables import NEVER, OperatingPoint
from models.thinking import ProbeFormat, ThinkingFormat
from tests.support.model_profile import MODEL, PROFILE, table


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    write_profile(path, PROFILE)
    return path


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    said = json.loads(path.read_text("utf-8"))
    edit(said)
    path.write_text(json.dumps(said), "utf-8")
    return path


def resealed(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Edit the contents under a checksum that fits."""

    def change(said: dict[str, Any]) -> None:
        edit(said["profile"])
        said["sha256"] = sha256_of(said["profile"])

    return edited(path, change)


def test_a_profile_is_read_as_it_was_written(written: Path) -> None:
    assert read_profile(written, MODEL) == PROFILE
    assert [path.name for path in written.parent.iterdir()] == ["profile.json"]  # no draft is left


def test_any_white_space_is_the_same_profile(written: Path) -> None:
    assert read_profile(edited(written, lambda said: None)) == PROFILE


@pytest.mark.parametrize("length", [0, 1, 400, -20, -2])
def test_a_truncated_file_is_refused(written: Path, length: int) -> None:
    written.write_bytes(written.read_bytes()[:length])
    with pytest.raises(ProfileError, match=r"profile\.json: is not JSON, or only a part of it"):
        read_profile(written)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda said: said.update(format="other"), "format is 'other', must be 'laser-profile'"),
        (lambda said: said.update(version=2), "version is 2, must be 1; run `laser calibrate` again"),
        (lambda said: said.pop("version"), "version is None, must be 1"),
        (lambda said: said["profile"].update(max_tokens=641), "it was damaged or edited"),
        (lambda said: said.pop("profile"), "it was damaged or edited"),
        (lambda said: said.update(sha256="00"), "its checksum is of other contents; run `laser calibrate` again"),
    ],
)
def test_an_edited_file_is_refused(written: Path, edit: Callable[[dict[str, Any]], object], told: str) -> None:
    with pytest.raises(ProfileError) as refused:
        read_profile(edited(written, edit))
    assert told in str(refused.value)
    assert str(written) in str(refused.value)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda said: said.pop("tokens"), "profile is "),
        (lambda said: said.update(more=1), "profile is "),
        (lambda said: said.update(max_tokens="640"), "profile.max_tokens is '640', must be of type int"),
        (lambda said: said.update(counts=[1]), "counts has 1 entries, must have 2"),
        (lambda said: said["accuracy"].pop(), "accuracy has shape (1, 3, 2), must be (2, 3, 2)"),
        (lambda said: said["accuracy"][0][0].pop(), "rows differ in length"),
        (lambda said: said["certificate"]["certified"].pop(), "certificate.certified has shape (2, 2), must be (3, 2)"),
        (lambda said: said.update(thresholds=[None, 0.8, 0.95]), "must begin with None and fall"),
        (lambda said: said["plant"]["step_time"].update(a=-1.0), "a is -1.0 s, must be finite and at least 0"),
        (lambda said: said["difficulty"].update(bounds=[1.0]), "profile.difficulty.bounds is [1.0], must be a list"),
    ],
)
def test_contents_that_make_no_profile_are_refused(
    written: Path, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    with pytest.raises(ProfileError) as refused:
        read_profile(resealed(written, edit))
    assert told in str(refused.value)


def test_the_profile_of_another_model_is_refused_in_words(written: Path) -> None:
    with pytest.raises(ProfileError, match=r"on other weights, those of 'tiny', than the ones in use, of 'mine'; run"):
        read_profile(written, replace(MODEL, name="mine", weights_sha256="ef" * 32))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"thinking": "qwen3.yaml"},
            "with thinking format qwen3.yaml, and the format in use is another: name that one",
        ),
        ({"thinking": None}, "with the model's own thinking format, its laser.yaml or the default, and the format in"),
        (None, "leave --thinking out, or run `laser calibrate` with the one in use"),
    ],
)
def test_the_profile_of_another_thinking_format_says_which_it_was_made_with(
    tmp_path: Path, options: object, told: str
) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, replace(PROFILE, provenance={"options": options}))
    with pytest.raises(OtherFormatError) as refused:
        read_profile(path, replace(MODEL, thinking_sha256="ef" * 32))
    assert told in str(refused.value)
    assert "ef" * 32 not in str(refused.value)


def test_files_that_are_no_profiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        read_profile(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ProfileError, match="format is 'list'"):
        read_profile(tmp_path / "list.json")
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(ProfileError, match="is not UTF-8"):
        read_profile(tmp_path / "latin.json")


def test_a_model_is_told_by_its_weights_and_its_way_of_thinking(tmp_path: Path) -> None:
    def told(form: ThinkingFormat) -> tuple[str, str]:
        identity = identify(tmp_path, form)
        assert identify(tmp_path, form, files=weights_sha256(tmp_path)) == identity
        return identity.weights_sha256, identity.thinking_sha256

    (tmp_path / "a.safetensors").write_bytes(b"1")
    weights, thinking = told(ThinkingFormat())
    assert told(ThinkingFormat(conclusions=("so",))) == (weights, thinking)  # these are for evaluation alone
    assert told(ThinkingFormat(probe=ProbeFormat(max_answer_tokens=3)))[1] != thinking
    (tmp_path / "b.safetensors").write_bytes(b"2")
    assert told(ThinkingFormat())[0] != weights


def test_the_optimiser_gets_the_certified_points_alone() -> None:
    planned = PROFILE.tables()
    assert PROFILE.points() == planned.points
    assert [(point.threshold, point.budget) for point in planned.points] == [(None, None), (0.95, None), (0.8, None)]
    assert planned.thresholds.tolist() == [NEVER, 0.95, 0.8]
    assert planned.budgets.tolist() == [640.0, 640.0, 640.0]
    assert planned.tokens.tolist() == [[row[0] for row in rows] for rows in PROFILE.tokens]
    assert planned.accuracy.tolist() == [[row[0] for row in rows] for rows in PROFILE.accuracy]
    assert len(PROFILE.tables(certified_only=False).points) == 6


def test_the_queue_knows_the_spread_of_full_thoughts() -> None:
    queue = PROFILE.plant_model()
    mean = 0.6 * PROFILE.tokens[0][0][0] + 0.4 * PROFILE.tokens[1][0][0]
    square = 0.6 * PROFILE.square[0][0][0] + 0.4 * PROFILE.square[1][0][0]
    assert queue.cv2 == pytest.approx(square / mean**2 - 1.0)
    assert (queue.max_batch, queue.context, queue.step_time) == (32, 150.0, StepTime(a=1e-3, c=1e-4, g=1e-7))


SEEN = evidence(90, 95, [[0, 40], [1, 40], [5, 50]], 100, 0.05)


def test_evidence_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile = replace(PROFILE, certificate=replace(PROFILE.certificate, evidence=SEEN))
    write_profile(tmp_path / "profile.json", profile)
    assert read_profile(tmp_path / "profile.json") == profile
    assert checksum(profile) == json.loads((tmp_path / "profile.json").read_text())["sha256"]


def test_a_profile_of_an_earlier_release_has_no_evidence_and_keeps_its_checksum(written: Path) -> None:
    said = json.loads(written.read_text())
    assert "evidence" not in said["profile"]["certificate"]
    found = read_profile(written)
    assert found.certificate.evidence is None
    assert checksum(found) == said["sha256"]
    assert found.refused is None


@pytest.mark.parametrize("right", [0.0, 0.04, 0.1])
def test_a_profile_of_an_earlier_release_that_is_hardly_ever_right_certifies_nothing(right: float) -> None:
    found = replace(PROFILE, accuracy=table(right, right))
    assert f"the full thought is right for {right:.1%} of" in (found.refused or "")  # the risk is 0.1
    assert found.points() == (OperatingPoint(threshold=None, budget=None),)
    assert len(found.points(certified_only=False)) == 6
    assert found.tables().accuracy.shape == (2, 1)
