"""Reads questions from JSON Lines with `question` and `answer`, optionally `split` and `benchmark`; GSM8K's files fit.

The files are UTF-8, plain or in gzip.

A reply is right if its last `\\boxed{…}` that is not empty is the answer. If it has no box and the answer is a number,
the reply's last number must be the answer. `experiments.grading` tells what is the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.grading.grader import Grader
from experiments.question import Question
from models.errors import LaserError
from models.files.text import json_objects, read_text, unpacked


class QuestionKey(StrEnum):
    """A key of a line."""

    QUESTION = "question"  # the question, as the user says it
    ANSWER = "answer"  # the right answer; of a worked solution, what stands after its last ####
    BENCHMARK = "benchmark"  # the name under which its results are summed up; left out: the file's name
    SPLIT = "split"  # a part of the benchmark, such as a level of difficulty; null or left out: none


class QuestionError(LaserError, ValueError):
    """The file of questions cannot be used; the message names the file, the line and the key."""


def file_questions(paths: Iterable[Path], count: int, seed: int, grader: Grader | None = None) -> list[Question]:
    """Returns the questions of all files; of a benchmark with more than `count`, a seeded sample in file order.

    A larger sample of the same seed holds a smaller one.
    A question's benchmark is the one in its line, else its file's name without the ending. `grader` None: a new one.
    Raises QuestionError.
    """
    grader = Grader() if grader is None else grader
    benchmarks: dict[str, list[Question]] = {}
    for path in paths:
        for question in read_questions(path, grader):
            benchmarks.setdefault(question.benchmark, []).append(question)
    chosen: list[Question] = []
    for number, found in enumerate(benchmarks.values()):
        rng = np.random.default_rng([seed, number])
        kept = sorted(rng.permutation(len(found))[:count].tolist())
        chosen += [found[place] for place in kept]
    return chosen


def read_questions(path: Path, grader: Grader | None = None) -> list[Question]:
    """Returns all questions of one file. Raises QuestionError if the file is unreadable, malformed or empty."""
    grader = Grader() if grader is None else grader
    questions = list(_questions(path, read_text(path, QuestionError), grader))
    if not questions:
        raise QuestionError(f"{path}: has no questions")
    return questions


def _questions(path: Path, text: str, grader: Grader) -> Iterator[Question]:
    wanted = "an object with `question` and `answer`"
    for number, found in json_objects(path, text.split("\n"), QuestionError, wanted):
        where = f"{path}:{number}"
        gold = _text(found, QuestionKey.ANSWER, where).rpartition("####")[2].strip()
        if not gold:
            raise QuestionError(f"{where}: `answer` has nothing after its last ####")
        yield Question(
            text=_text(found, QuestionKey.QUESTION, where),
            benchmark=_name(found, QuestionKey.BENCHMARK, where)
            if QuestionKey.BENCHMARK in found
            else unpacked(path).stem,
            split=_name(found, QuestionKey.SPLIT, where) if found.get(QuestionKey.SPLIT) is not None else None,
            grade=partial(grader.right, gold=gold),
            grade_boxed=partial(grader.same, gold=gold),
            same=grader.same,
            gold=gold,
        )


def _text(found: dict[str, Any], key: str, where: str) -> str:
    if key not in found:
        raise QuestionError(f"{where}: `{key}` is missing")
    value = found[key]
    if not isinstance(value, str):
        raise QuestionError(f"{where}: `{key}` is {json.dumps(value)[:40]}, must be a text")
    if not value.strip():
        raise QuestionError(f"{where}: `{key}` is empty")
    if any("\ud800" <= character <= "\udfff" for character in value):  # JSON can write one, UTF-8 cannot
        raise QuestionError(f"{where}: `{key}` has half a surrogate pair")
    return value


def _name(found: dict[str, Any], key: str, where: str) -> str:
    """Returns a text that tables and figures show."""
    value = _text(found, key, where)
    if not value.isprintable():
        raise QuestionError(f"{where}: `{key}` is {value[:40]!r}, must be one line of visible text")
    return value
