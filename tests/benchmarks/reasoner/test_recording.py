"""What is recorded of a reasoner: its questions, its files, and that a run goes on where another was ended."""

from __future__ import annotations

import lzma
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.reasoner.aims import SAMPLES, TEMPERATURE
from benchmarks.reasoner.asking import (
    AT_ONCE,
    AskedReasoner,
    ReasonerPart,
    asked_by_others,
    asked_reasoner,
    fresh_questions,
    part,
    slices,
)
from benchmarks.reasoner.evidence import evidence, read_samples, read_thoughts
from benchmarks.reasoner.replies import record_replies, replies_header, request
from benchmarks.reasoner.report import reasoner_report, tables
from benchmarks.reasoner.thoughts import record_closed_answers, record_full_thoughts
from experiments.calibration.races.sampled import RepliesError, log_lines, read_replies
from experiments.calibration.run import CalibrationSettings
from experiments.calibration.traces import TraceError, TraceLog, read_records
from experiments.evaluation.questions import bundled_questions
from experiments.progress import Silent
from models.reasoner import bundled_model
from models.reasoner.tasks import FAMILIES
from models.reasoner.traces import CAP
from tests.support.reasoner_evidence import reply, trace


@pytest.fixture(scope="module")
def asked() -> AskedReasoner:
    return asked_reasoner(bundled_model(), 2)


def test_parts_share_all_questions_and_none_twice() -> None:
    shares = [list(part(f"{number}/3").among(10)) for number in (1, 2, 3)]
    assert sorted(chain(*shares)) == list(range(10))
    assert ReasonerPart().among(10) == range(10)
    for wrong in ("0/2", "3/2", "x", "1"):
        with pytest.raises(ValueError, match=r"part is|invalid literal"):
            part(wrong)


def test_slices_hold_everything_in_order() -> None:
    found = list(slices(range(2 * AT_ONCE + 1)))
    assert [len(one) for one in found] == [AT_ONCE, AT_ONCE, 1]
    assert list(chain(*found)) == list(range(2 * AT_ONCE + 1))


def test_questions_are_fresh_and_fewer_are_the_first_of_more() -> None:
    many, few = fresh_questions(5), fresh_questions(2)
    assert len({one.key for one in many}) == len(many) == 5 * len(FAMILIES)
    for name in FAMILIES:
        first = [one.key for one in many if one.benchmark == name][:2]
        assert first == [one.key for one in few if one.benchmark == name]
    assert not asked_by_others() & {one.key for one in many}
    calibrated = bundled_questions(5, CalibrationSettings().seed)
    assert {one.key for one in calibrated} <= asked_by_others()


def test_a_sample_draws_by_question_and_place_alone(asked: AskedReasoner) -> None:
    seeds = [request(asked, place).sampling.seed for place in range(2 * SAMPLES)]
    assert len(set(seeds)) == 2 * SAMPLES
    assert seeds == [request(asked, place).sampling.seed for place in range(2 * SAMPLES)]
    assert request(asked, 0).sampling.temperature == TEMPERATURE


def test_records_of_another_cap_are_refused(asked: AskedReasoner, tmp_path: Path) -> None:
    other = {**asked.header, "max_tokens": asked.max_tokens + 1}
    with TraceLog(tmp_path / "log", other, asked.keys) as log:
        log.add(trace(3))
    with pytest.raises(TraceError, match="max_tokens is"):
        read_thoughts(asked, [tmp_path / "log"])


def test_a_family_without_thoughts_is_told(asked: AskedReasoner, tmp_path: Path) -> None:
    with TraceLog(tmp_path / "log", asked.header, asked.keys) as log:
        log.add(trace(3))
    with pytest.raises(TraceError, match=f"has no full thought of .*{sorted(FAMILIES[1:])[0]}"):
        evidence(asked, read_thoughts(asked, [tmp_path / "log"]), {})


def test_replies_are_read_plain_and_packed(asked: AskedReasoner, tmp_path: Path) -> None:
    said = [reply("7", 30, right=True, sample=sample) for sample in (1, 0)]
    whole = b"".join(log_lines(replies_header(asked), said))
    (tmp_path / "plain").write_bytes(whole)
    (tmp_path / "packed.xz").write_bytes(lzma.compress(whole))
    assert read_replies(tmp_path / "plain") == read_replies(tmp_path / "packed.xz", replies_header(asked)) == said
    assert read_samples(asked, [tmp_path / "plain"]) == {"key": [said[1], said[0]]}
    (tmp_path / "plain").write_bytes(whole[:-9])  # being written
    assert read_replies(tmp_path / "plain") == said[:1]


def test_replies_of_another_model_and_other_files_are_refused(asked: AskedReasoner, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"".join(log_lines({**replies_header(asked), "weights_sha256": "ab"}, [])))
    with pytest.raises(RepliesError, match="another weights_sha256"):
        read_samples(asked, [file])
    for text in ("", "notes\n", '{"format": "laser-records", "version": 1}\n'):
        file.write_text(text)
        with pytest.raises(RepliesError, match="no replies can be read"):
            read_replies(file)


@pytest.mark.slow
def test_all_is_recorded_in_parts_and_goes_on_after_a_kill(asked: AskedReasoner, tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    for number, file in enumerate(files, 1):
        record_full_thoughts(asked, ReasonerPart(number=number, of=2), file, Silent())
        record_closed_answers(asked, file, (0,), Silent())
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-200])  # killed in the middle of a line
    record_full_thoughts(asked, ReasonerPart(number=1, of=2), files[0], Silent())
    record_closed_answers(asked, files[0], (0,), Silent())
    assert sorted(files[0].read_bytes().splitlines()) == sorted(whole.splitlines())
    replies = tmp_path / "replies"
    record_replies(asked, ReasonerPart(), replies, Silent())
    drawn = replies.read_bytes()
    replies.write_bytes(drawn[:-100])
    record_replies(asked, ReasonerPart(), replies, Silent())
    assert sorted(replies.read_bytes().splitlines()) == sorted(drawn.splitlines())
    found = evidence(asked, read_thoughts(asked, files), read_samples(asked, [replies]))
    assert len(found.traces) == len(found.thought_away) == len(found.drawn) == len(asked.questions)
    assert max(found.lengths) <= CAP
    told = reasoner_report(asked, found)
    assert {one.aim.name for one in told.held if one.figure is None} <= {"right at the cap", "told by tokens"}
    assert all(name in tables(told) for name in FAMILIES)


@pytest.mark.slow
def test_a_thought_at_the_cap_is_closed_there_and_answers(tmp_path: Path) -> None:
    cap = 8
    short = asked_reasoner(bundled_model(), 1, cap=cap)
    record_full_thoughts(short, ReasonerPart(), tmp_path / "log", Silent())
    traces = read_records(tmp_path / "log").traces.values()
    assert max(len(one.thought) for one in traces) == cap
    assert all(one.answer for one in traces)
    assert {len(one.thought) for one in traces if not one.ended} == {cap}
