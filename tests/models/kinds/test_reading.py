"""What a request wants is told from its words; what nothing tells is open."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from models.kinds.classifier import FILE, WEIGHTS, KindsError, KindWeights, features
from models.kinds.kind import AnswerForm, AnswerKind
from models.kinds.reading import KindReader
from models.kinds.said import LOOKED_AT, Words
from models.kinds.signs import choices
from models.reasoner.tasks import FAMILIES, SPLITS, generate

SHORT, STRUCTURED, CODE, OPEN = AnswerKind
BOX = "Put the final answer in \\boxed{}."
CHOICES = "Which gas is it?\nA. oxygen\nB. argon\nC. helium"


@pytest.fixture(scope="module")
def reader() -> KindReader:
    return KindReader.shipped()


@pytest.mark.parametrize(
    ("asked", "system", "kind", "form"),
    [
        ("How many primes are below 50? Put your answer in \\boxed{}.", "", SHORT, AnswerForm.BOX),
        ("How many primes are below 50?", BOX, SHORT, AnswerForm.BOX),
        (CHOICES, "", SHORT, AnswerForm.CHOICE),
        ("(A) red (B) blue: which is warmer? Answer with the letter.", "", SHORT, AnswerForm.CHOICE),
        (f"{CHOICES}\n{BOX}", "", SHORT, AnswerForm.BOX),
        ("Zxqv wqrt? Answer with only the number.", "", SHORT, AnswerForm.WORDS),
        ("Zxqv wqrt?", "Reply with a single word.", SHORT, AnswerForm.WORDS),
        ("Largest ocean? Final answer: $ANSWER", "", SHORT, AnswerForm.WORDS),
        ("Write a Python function that extracts what is in \\boxed{}.", "", CODE, AnswerForm.WORDS),
        ("Write a script that prints all primes.", BOX, CODE, AnswerForm.WORDS),
        ("Write a short story about the sea.", BOX, OPEN, AnswerForm.WORDS),
        ("```\nx = 1\n```", "", CODE, AnswerForm.WORDS),
        ("Reply in JSON: how many primes are below 50?", "", STRUCTURED, AnswerForm.WORDS),
        ("How many primes are below 50?", "You always answer in JSON.", STRUCTURED, AnswerForm.WORDS),
        ("How many files are there?", "You have access to these tools: ls, cat.", STRUCTURED, AnswerForm.WORDS),
        (f"Explain your choice. {CHOICES}", "", OPEN, AnswerForm.WORDS),
        ("Translate into French: yes or no?", "", OPEN, AnswerForm.WORDS),
        ("Show that 12 + 30 is even.", "", OPEN, AnswerForm.WORDS),
        ("Give the full working of 12 + 30 = x.", "", OPEN, AnswerForm.WORDS),
        ("Zxqv wqrt?", "", OPEN, AnswerForm.WORDS),
        ("Сколько будет два плюс два?", "", OPEN, AnswerForm.WORDS),
        ("", "", OPEN, AnswerForm.WORDS),
    ],
)
def test_words_tell_what_is_wanted(
    reader: KindReader, asked: str, system: str, kind: AnswerKind, form: AnswerForm
) -> None:
    read = reader.read(Words(asked=asked, system=system))
    assert read.kind is kind
    assert kind is not SHORT or read.form is form


def test_the_bundled_models_questions_want_short_answers(reader: KindReader) -> None:
    rng = np.random.default_rng(5)
    asked = [generate(family, rng, split=split).question for family in FAMILIES for split in SPLITS for _ in range(25)]
    assert {reader.read(Words(asked=text)).kind for text in asked} == {SHORT}


def test_what_stands_at_the_ends_of_a_long_text_tells(reader: KindReader) -> None:
    filler = "lorem ipsum " * LOOKED_AT
    assert reader.read(Words(asked=f"{filler} {BOX}")).kind is SHORT
    assert reader.read(Words(asked=f"{BOX} {filler}")).kind is SHORT
    assert reader.read(Words(asked=f"{filler} {BOX} {filler}")).kind is OPEN


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (CHOICES, ("A", "B", "C")),
        ("Which?\n(A) one\n(B) two", ("A", "B")),
        ("Which? (A) one (B) two (C) three", ("A", "B", "C")),
        ("Which?\nA) one\nC) two", ()),
        ("Which?\nA) one", ()),
        ("My notes.\nA. milk\nB. bread", ()),
        (f"{CHOICES}\n{'and so on ' * 60}", ()),
        ("Few shots: which?\nA. x\nB. y\nAnswer: B\nWhich?\nA. u\nB. v\nC. w\nAnswer:", ("A", "B", "C")),
    ],
)
def test_choices_are_the_list_that_a_question_ends_with(text: str, labels: tuple[str, ...]) -> None:
    assert choices(text) == labels


def test_unknown_words_shrink_the_scores() -> None:
    weights = KindWeights(biases=(0.0,) * 4, weights={"why": (9.0, 0.0, 0.0, 0.0)}, sure=0.9)
    assert weights.kind("why") is SHORT
    assert weights.kind("why " + " ".join(f"zx{'q' * n}" for n in range(40))) is None


def test_numbers_are_alike() -> None:
    assert features("What is 12 + 30?") == features("What is 7 + 5?")


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    said = json.loads(FILE.read_text())
    said["kinds"]["biases"] = [0.0]
    file = tmp_path / "weights.json"
    file.write_text(json.dumps(said))
    with pytest.raises(KindsError, match="checksum is of other contents"):
        WEIGHTS.read(file)
    with pytest.raises(ValueError, match="biases has 1 values, must have 4"):
        KindWeights(**{**asdict(WEIGHTS.read(FILE)), "biases": (0.0,)})
