"""Files of questions: what is read, what is refused, and how replies are graded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evaluation.question_files import (
    QuestionError,
    file_questions,
    read_questions,
)
from experiments.grading.exact import last_boxed
from experiments.grading.grader import Grader
from experiments.question import Question
from tests.support.engine_requests import search


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def test_a_gsm8k_file_is_read_as_it_is(tmp_path: Path) -> None:
    file = write(
        tmp_path / "gsm8k.jsonl",
        {"question": "How many clips?", "answer": "She sold 48/2 = <<48/2=24>>24 in May.\n#### 24"},
        "",
        {"question": "How much?", "answer": "Nothing is #### final but the last.\n#### 1,070"},
    )
    first, second = read_questions(file)
    assert (first.text, first.benchmark, first.split) == ("How many clips?", "gsm8k", None)
    assert first.grade("So \\boxed{24}.")
    assert not first.grade("So \\boxed{48}.")
    assert second.grade_boxed("1070")


def test_a_line_may_name_its_benchmark_and_split(tmp_path: Path) -> None:
    line = {"question": "Which city?", "answer": "Paris", "benchmark": "cities", "split": "easy", "source": 3}
    (question,) = read_questions(write(tmp_path / "mixed.jsonl", line))
    assert (question.benchmark, question.split) == ("cities", "easy")
    assert question.grade("It is \\boxed{ paris }")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", ":2: is not JSON: "),
        ("[1]", ":2: is '[1]', must be an object with `question` and `answer`"),
        ({"answer": "1"}, ":2: `question` is missing"),
        ({"question": "?"}, ":2: `answer` is missing"),
        ({"question": "?", "answer": 5}, ":2: `answer` is 5, must be a text"),
        ({"question": " ", "answer": "5"}, ":2: `question` is empty"),
        ({"question": "?", "answer": "so\n#### "}, ":2: `answer` has nothing after its last ####"),
        ({"question": "?", "answer": "5", "split": 1}, ":2: `split` is 1, must be a text"),
        ({"question": "?", "answer": "5", "benchmark": ""}, ":2: `benchmark` is empty"),
        ({"question": "\ud83d", "answer": "5"}, ":2: `question` has half a surrogate pair"),
    ],
)
def test_an_unusable_line_is_told_with_file_line_and_key(tmp_path: Path, line: object, told: str) -> None:
    file = write(tmp_path / "some.jsonl", {"question": "?", "answer": "1"}, line)
    with pytest.raises(QuestionError) as error:
        read_questions(file)
    assert str(error.value).startswith(f"{file}{told}")


def test_an_unusable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"none\.jsonl: cannot be read: No such file"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(QuestionError, match=r"empty\.jsonl: has no questions"):
        read_questions(write(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9"}')
    with pytest.raises(QuestionError, match=r"latin\.jsonl: is not UTF-8: .* at byte 14"):
        read_questions(tmp_path / "latin.jsonl")


@pytest.mark.parametrize("name", ["gsm8k.jsonl", "gsm8k.jsonl.gz"])
def test_a_file_with_a_mark_or_in_gzip_is_read_under_the_same_name(tmp_path: Path, name: str) -> None:
    content = '{"question": "Größe?", "answer": "1"}\n'.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (question,) = read_questions(tmp_path / name)
    assert (question.text, question.benchmark) == ("Größe?", "gsm8k")


@pytest.mark.parametrize(("encoding", "told"), [("utf-16", "it is UTF-16"), ("latin-1", "if it is Latin-1")])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, told: str) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"question": "Größe?", "answer": "1"}\n'.encode(encoding))
    with pytest.raises(QuestionError, match=rf"a\.jsonl: is not UTF-8: .*{told}"):
        read_questions(tmp_path / "a.jsonl")


@pytest.mark.parametrize("key", ["benchmark", "split"])
@pytest.mark.parametrize("name", ["two\nlines", "bell\a", "\u202eright to left"])
def test_a_name_that_no_table_can_show_is_refused(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(QuestionError, match=rf"a\.jsonl:1: `{key}` is '.*', must be one line of visible text"):
        read_questions(write(tmp_path / "a.jsonl", {"question": "?", "answer": "1", key: name}))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)
LINE = st.dictionaries(st.sampled_from(["question", "answer", "split", "benchmark"]), st.one_of(st.text(), JSON))


@given(lines=st.lists(st.one_of(LINE, JSON).map(json.dumps).map(str.encode) | st.binary(), max_size=5))
@search(150)
def test_any_lines_are_questions_or_one_clear_error(tmp_path: Path, lines: list[bytes]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\n".join(lines))
    questions, told = list[Question](), str(file)
    try:
        questions = read_questions(file)
    except QuestionError as refused:
        told = str(refused)
    assert told.startswith(str(file))
    assert all(question.text.strip() and question.benchmark for question in questions)


def test_a_sample_is_seeded_distinct_and_in_the_file_s_order(tmp_path: Path) -> None:
    long = write(tmp_path / "long.jsonl", *({"question": f"{n:02}", "answer": "1"} for n in range(50)))
    short = write(tmp_path / "short.jsonl", *({"question": f"s{n}", "answer": "1"} for n in range(3)))

    def drawn(seed: int) -> list[str]:
        return [question.text for question in file_questions([long, short], 10, seed)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1)[10:] == ["s0", "s1", "s2"]
    assert drawn(1)[:10] == sorted(set(drawn(1)[:10]))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("42", "42"),
        ("42.", "42"),
        ("18.0", "18"),
        ("$1,234.50", "1234.5"),
        ("\\$18", "18"),
        ("70{,}000", "70000"),
        ("70\\,000", "70,000"),
        ("50\\%", "50"),
        ("1/2", "0.5"),
        ("−3", "-3"),
        (" +7 ", "7"),
        ("Yes.", " yes"),
        ("New  York", "new york"),
    ],
)
def test_answers_that_are_the_same(answer: str, gold: str) -> None:
    assert Grader().same(answer, gold).right


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("4", "42"),
        ("", "42"),
        ("1,2", "12"),
        ("-3", "3"),
        ("3 or 4", "4"),
        ("1/0", "1"),
        ("4" * 9_000, "4"),
        ("no", "yes"),
    ],
)
def test_answers_that_are_not_the_same(answer: str, gold: str) -> None:
    assert not Grader().same(answer, gold).right


@pytest.mark.parametrize(
    ("reply", "gold", "right"),
    [
        ("first \\boxed{1}, then \\boxed{2}", "2", True),
        ("first \\boxed{1}, then \\boxed{2}", "1", False),
        ("\\boxed{\\frac{1}{2}} of 3", "\\frac{1}{2}", True),
        ("\\boxed{5} and not \\boxed{6", "5", True),  # cut before its end, a box holds nothing
        ("\\boxed{five} is 5", "5", False),  # what is boxed counts, whatever stands outside
        ("16 - 3 - 4 = 9 eggs, so she makes $18.", "18", True),
        ("That is 1,070 in all", "1070", True),
        ("18 eggs in 2 days", "18", False),
        ("It is minus three: -3.", "-3", True),
        ("it is 16-3", "-3", False),
        ("no number", "3", False),
        ("The city is Paris", "Paris", False),  # a text has to be boxed
        ("", "3", False),
    ],
)
def test_a_reply_is_graded_by_its_last_box_else_its_last_number(reply: str, gold: str, right: bool) -> None:
    assert Grader().right(reply, gold).right is right


def test_a_trial_answer_is_graded_as_boxed_text_however_it_was_cut(tmp_path: Path) -> None:
    (question,) = read_questions(write(tmp_path / "f.jsonl", {"question": "?", "answer": "1"}))
    assert question.grade_boxed("1")
    assert not question.grade_boxed("\\frac{1")


def test_a_box_holds_nested_braces() -> None:
    assert last_boxed("\\boxed{a{b}{c{d}}}e") == "a{b}{c{d}}"
    assert last_boxed("none") is None


def test_a_larger_sample_holds_a_smaller_one_of_the_same_seed(tmp_path: Path) -> None:
    file = write(tmp_path / "many.jsonl", *({"question": f"{n}?", "answer": str(n)} for n in range(40)))
    samples = [{one.text for one in file_questions([file], count, seed=3)} for count in (5, 9, 30, 50)]
    assert [len(sample) for sample in samples] == [5, 9, 30, 40]
    assert samples[0] < samples[1] < samples[2] < samples[3]
    assert samples[1] != {one.text for one in file_questions([file], 9, seed=4)}


def test_a_question_is_known_by_its_text_and_answer(tmp_path: Path) -> None:
    keys = [
        read_questions(write(tmp_path / name, line))[0].key
        for name, line in (
            ("a.jsonl", {"question": "1?", "answer": "1"}),
            ("b.jsonl", {"question": "1?", "answer": "so\n#### 1", "benchmark": "other"}),
            ("c.jsonl", {"question": "1?", "answer": "2"}),
            ("d.jsonl", {"question": "2?", "answer": "1"}),
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
