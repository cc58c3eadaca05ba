"""A reasoner is shipped whole and within its size, or refused by the name of what does not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reasoner.aims import RECORDS_MB, SAMPLES
from benchmarks.reasoner.asking import AskedReasoner, ReasonerPart, asked_reasoner
from benchmarks.reasoner.card import BEGIN, END, CardError, filled, markdown
from benchmarks.reasoner.evidence import evidence, read_samples, read_thoughts
from benchmarks.reasoner.replies import record_replies
from benchmarks.reasoner.report import reasoner_report
from benchmarks.reasoner.ship import (
    FIGURES,
    REPLIES,
    THOUGHTS,
    ShippedPlaces,
    ShippingError,
    check_records,
    check_size,
    check_whole,
    install,
    ship,
)
from benchmarks.reasoner.size import MEGABYTE, model_files
from benchmarks.reasoner.thoughts import record_closed_answers, record_full_thoughts
from experiments.calibration.traces import TraceLog
from experiments.progress import Silent
from models.profile.profile import profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.reasoner_evidence import direct, reply, trace


@pytest.fixture(scope="module")
def asked() -> AskedReasoner:
    return asked_reasoner(bundled_model(), 1)


def copied(folder: Path) -> Path:
    model = folder / "model"
    shutil.copytree(bundled_model(), model)
    (model / "README.md").write_text(f"# Card\n{BEGIN}\nold figures\n{END}\n## Limits\n", encoding="utf-8")
    return model


def test_a_model_that_is_no_bundled_one_is_refused(tmp_path: Path) -> None:
    model = copied(tmp_path)
    check_size(model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "head_dim": 128}))
    with pytest.raises(ShippingError, match="head_dim: 128 count, must be 64"):
        check_size(model)
    (model / "config.json").write_text(json.dumps(config))
    (model / "more.bin").write_bytes(bytes(12_000_000))
    with pytest.raises(ShippingError, match=r"files of the model .*, must be at most 12"):
        check_size(model)


def test_what_was_not_recorded_is_refused(asked: AskedReasoner, tmp_path: Path) -> None:
    with TraceLog(tmp_path / "log", asked.header, asked.keys) as log:
        with pytest.raises(ShippingError, match="has no recorded full thought"):
            check_whole(asked, log.whole, {})
        for number in range(len(asked.questions)):
            log.add(replace(trace(4), number=number))
        with pytest.raises(ShippingError, match="has no recorded answer without thought"):
            check_whole(asked, log.whole, {})
        for number in range(len(asked.questions)):
            log.add(replace(direct(True), number=number))
    whole = read_thoughts(asked, [tmp_path / "log"])
    samples = {key: [reply("7", 9, right=True, sample=n) for n in range(SAMPLES)] for key in asked.keys.keys}
    check_whole(asked, whole, samples)
    with pytest.raises(ShippingError, match=f"has {SAMPLES - 1} sampled replies, must have {SAMPLES}"):
        check_whole(asked, whole, {**samples, asked.keys.keys[-1]: samples[asked.keys.keys[-1]][1:]})


def test_records_that_are_too_large_are_refused() -> None:
    half = round(RECORDS_MB * MEGABYTE / 2)
    check_records({"thoughts": half, "replies": half})
    with pytest.raises(ShippingError, match=rf"may take at most {RECORDS_MB}: thoughts 7.5, replies 7.5"):
        check_records({"thoughts": half, "replies": half + 1})


def test_the_measured_part_stands_between_its_markers(tmp_path: Path) -> None:
    card = copied(tmp_path) / "README.md"
    assert filled(card, "new\n") == f"# Card\n{BEGIN}\nnew\n{END}\n## Limits\n"
    for wrong in ("# Card\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n"):
        card.write_text(wrong)
        with pytest.raises(CardError, match="must have one of each, in this order"):
            filled(card, "new\n")
    card.unlink()
    with pytest.raises(CardError, match="there is no card"):
        filled(card, "new\n")
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_installing_replaces_the_model_and_leaves_its_card(tmp_path: Path) -> None:
    model, target = copied(tmp_path), tmp_path / "target"
    target.mkdir()
    (target / "old.safetensors").write_bytes(b"")
    (target / "README.md").write_text("mine")
    install(model, target)
    assert {file.name for file in target.iterdir()} == {file.name for file in model_files(model)} | {"README.md"}
    assert (target / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert (target / "README.md").read_text() == "mine"


@pytest.mark.slow
def test_shipped_records_tell_what_was_measured(asked: AskedReasoner, tmp_path: Path) -> None:
    thoughts, replies = tmp_path / "thoughts", tmp_path / "replies"
    record_full_thoughts(asked, ReasonerPart(), thoughts, Silent())
    record_closed_answers(asked, thoughts, (0, 60), Silent())
    record_replies(asked, ReasonerPart(), replies, Silent())
    model = copied(tmp_path)
    profile = profile_of(model)
    write_profile(profile, replace(read_profile(profile), max_tokens=asked.max_tokens))
    places = ShippedPlaces(weights=model, records=tmp_path / "records")
    log, samples = read_thoughts(asked, [thoughts]), read_samples(asked, [replies])
    told = ship(asked, log, samples, places, Silent())
    again = read_thoughts(asked, [places.records / THOUGHTS]), read_samples(asked, [places.records / REPLIES])
    assert again == (replace(log, path=again[0].path), samples)
    found = reasoner_report(asked, evidence(asked, *again))
    assert found == told
    assert json.loads((places.records / FIGURES).read_text())["results"]["families"].keys() == told.families.keys()
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Card\n{BEGIN}\n")
    assert card.endswith(f"{END}\n## Limits\n")
    assert "old figures" not in card
    assert all(f"| {one.aim.name} |" in card for one in told.held)
