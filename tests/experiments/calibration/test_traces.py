"""The log of a calibration: what is in it survives, what was half written does not, and nothing is mixed up."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from experiments.calibration.answering import missing_closings
from experiments.calibration.traces import (
    BudgetChoice,
    ClosedReply,
    RunQuestions,
    ThoughtTrace,
    TraceError,
    TraceLog,
    read_records,
    records_of,
    takes_more,
)
from tests.support.evaluations import asked

HEADER = {"weights_sha256": "ab", "max_tokens": 640}


def trace(number: int, length: int = 3) -> ThoughtTrace:
    return ThoughtTrace(
        number=number,
        prompt=(1, 2),
        thought=tuple(range(length)),
        right=True,
        tokens=length + 2,
        rows=length + 7,
        probes=(asked(0.9, right=True),),
    )


def closing(number: int, budget: int) -> ClosedReply:
    return ClosedReply(number=number, budget=budget, right=False, tokens=4)


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TraceLog(path, HEADER) as log:
        log.add(trace(4))
        log.add(closing(4, 2))
    with TraceLog(path, HEADER) as log:
        assert log.traces == {4: trace(4)}
        assert log.closings == {(4, 2): closing(4, 2)}
        log.add(trace(5))
    with TraceLog(path, HEADER) as log:
        assert log.traces.keys() == {4, 5}


def test_packed_records_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    plain = records_of(profile)
    with TraceLog(plain, HEADER) as log:
        log.add(trace(4))
    packed = tmp_path / "profile.json.records.jsonl.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert records_of(profile) == plain
    known = read_records(plain)
    plain.unlink()
    assert records_of(profile) == packed
    assert read_records(packed).traces == known.traces
    packed.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(TraceError, match="xz: cannot be read: "):
        read_records(packed)


@pytest.mark.slow
def test_a_half_written_line_is_forgotten_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TraceLog(path, HEADER) as log:
        log.add(trace(0))
        before = path.read_bytes()
        log.add(trace(1))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with TraceLog(path, HEADER) as log:
            assert log.traces == ({0: trace(0)} if length >= len(before) else {})
            log.add(trace(2))
        with TraceLog(path, HEADER) as log:
            assert log.traces.keys() == ({0, 2} if length >= len(before) else {2})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "log:3: is no record of a calibration"),
        ("[]", "log:3: is no record"),
        ('{"other": 1}', "log:3: is no record"),
        ('{"closing": {"number": 1}}', "log:3: is no record"),
    ],
)
def test_a_damaged_line_is_told(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "log"
    with TraceLog(path, HEADER) as log:
        log.add(trace(0))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TraceError, match=told):
        TraceLog(path, HEADER)


def test_records_of_another_model_or_other_questions_are_not_mixed_in(tmp_path: Path) -> None:
    TraceLog(tmp_path / "log", HEADER).__exit__(None, None, None)
    with pytest.raises(TraceError, match="begun with other weights than this run has: remove it"):
        TraceLog(tmp_path / "log", {**HEADER, "weights_sha256": "cd"})
    (tmp_path / "other").write_text(json.dumps({"question": "?"}) + "\n")
    with pytest.raises(TraceError, match='begun with format null, this run has "laser-records"'):
        TraceLog(tmp_path / "other", HEADER)


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in ("my notes", "my notes\nmore", '{"format": "laser'):
        path.write_text(text)
        with pytest.raises(TraceError, match=r"log:1: is no record of a calibration"):
            TraceLog(path, HEADER)
        assert path.read_text() == text


def test_one_run_at_a_time_writes_it(tmp_path: Path) -> None:
    with TraceLog(tmp_path / "log", HEADER), pytest.raises(TraceError, match="another run is writing it"):
        TraceLog(tmp_path / "log", HEADER)
    TraceLog(tmp_path / "log", HEADER).__exit__(None, None, None)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be written: No such file or directory"):
        TraceLog(tmp_path / "nowhere" / "log", HEADER)


def test_only_budgets_that_a_thought_reaches_are_missing(tmp_path: Path) -> None:
    with TraceLog(tmp_path / "log", HEADER) as log:
        log.add(trace(0, length=10))
        log.add(trace(1, length=20))
        log.add(closing(1, 5))
        assert missing_closings(log, (5, 10, 11)) == [(0, 5), (0, 10), (1, 10), (1, 11)]


def asked_of(*keys: str) -> RunQuestions:
    return RunQuestions(keys=keys, sha256=" ".join(keys))


def test_other_questions_are_added_and_those_that_were_answered_are_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TraceLog(path, HEADER, asked_of("a", "b")) as log:
        log.add(trace(1, length=5))
        log.add(trace(0, length=4))
        log.add(closing(1, 2))
    with TraceLog(path, HEADER, asked_of("c", "b", "d", "a")) as log:  # in another order, among others
        assert log.traces == {1: trace(1, length=5), 3: trace(3, length=4)}
        assert log.closings == {(1, 2): closing(1, 2)}
        log.add(trace(0, length=6))
        log.add(closing(0, 3))
        log.add(closing(3, 3))
        assert log.traces.keys() == {0, 1, 3}
    with TraceLog(path, HEADER, asked_of("c")) as log:
        assert log.traces == {0: trace(0, length=6)}
        assert log.closings == {(0, 3): closing(0, 3)}
        assert len(log.whole.traces) == 3
    found = read_records(path).of(asked_of("a", "c"))
    assert found.traces == {0: trace(0, length=4), 1: trace(1, length=6)}
    assert found.closings.keys() == {(0, 3), (1, 3)}


def test_a_question_asked_twice_is_answered_twice(tmp_path: Path) -> None:
    twice = asked_of("a", "b", "a")
    with TraceLog(tmp_path / "log", HEADER, twice) as log:
        log.add(trace(2))
        log.add(trace(0))
    with TraceLog(tmp_path / "log", HEADER, twice) as log:
        assert log.traces.keys() == {0, 2}
    with TraceLog(tmp_path / "log", HEADER, asked_of("a")) as log:
        assert log.traces.keys() == {0}


def test_records_of_an_earlier_release_go_on_with_the_same_questions_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    mine = asked_of("a", "b")
    with TraceLog(path, HEADER | {"questions_sha256": mine.sha256}) as log:  # without keys
        log.add(trace(1))
    with TraceLog(path, HEADER, mine) as log:
        assert log.traces == {1: trace(1)}
        log.add(trace(0))
    with TraceLog(path, HEADER, mine) as log:
        assert log.traces.keys() == {0, 1}
    told = "an earlier release, with other questions than this run has: name the same --questions, -n and --seed."
    with pytest.raises(TraceError, match=told):
        TraceLog(path, HEADER, asked_of("a", "b", "c"))


def test_the_first_choice_of_budgets_stands_for_every_later_run(tmp_path: Path) -> None:
    path = tmp_path / "log"
    chosen = BudgetChoice(budgets=(40, 90), pilot=("a", "b"))
    with TraceLog(path, HEADER, asked_of("a", "b", "c")) as log:
        log.add(trace(0))
        assert log.choice is None
        log.choose(chosen)
        log.add(closing(0, 40))
        assert log.choice == chosen
    with TraceLog(path, HEADER, asked_of("d")) as log:
        assert log.choice == chosen
        log.choose(BudgetChoice(budgets=(7,), pilot=("d",)))
        assert log.choice == chosen
    assert read_records(path).choices[0] == chosen
    assert read_records(path).of(asked_of("c", "a")).closings.keys() == {(1, 40)}


def test_only_records_that_name_their_questions_take_more(tmp_path: Path) -> None:
    ours, earlier, packed = tmp_path / "ours", tmp_path / "earlier", tmp_path / "ours.xz"
    TraceLog(ours, HEADER, asked_of("a")).__exit__(None, None, None)
    TraceLog(earlier, HEADER | {"questions_sha256": "ab"}).__exit__(None, None, None)
    packed.write_bytes(lzma.compress(ours.read_bytes()))
    assert [takes_more(one) for one in (ours, earlier, packed)] == [True, False, False]


@pytest.mark.parametrize(
    ("begun", "goes_on", "told"),
    [
        ({"trust_markers": True}, {}, "trust_markers true, this run has false"),
        ({}, {"chat_template_sha256": "ab"}, "another chat template than this run has"),
    ],
)
def test_records_of_other_prompts_are_not_mixed_in(
    tmp_path: Path, begun: dict[str, object], goes_on: dict[str, object], told: str
) -> None:
    TraceLog(tmp_path / "log", HEADER | begun).__exit__(None, None, None)
    TraceLog(tmp_path / "log", HEADER | begun).__exit__(None, None, None)
    with pytest.raises(TraceError, match=told):
        TraceLog(tmp_path / "log", HEADER | goes_on)
