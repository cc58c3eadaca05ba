"""Reads questions from JSON Lines with `question` and `answer`, optionally `split` and `benchmark`; GSM8K's files fit.

The files are UTF-8, plain or in gzip.

A reply is right if its last `\\boxed{…}` equals the answer. If it has no box and the answer is a number, the reply's
last number must equal the answer. Numbers compare as numbers, texts without case and surrounding white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.question import Question
from models.errors import LaserError
from models.files.text import decode_json, read_text, unpacked


class QuestionError(LaserError, ValueError):
    """The file of questions cannot be used; the message names the file, the line and the key."""


def file_questions(paths: Iterable[Path], count: int, seed: int) -> list[Question]:
    """Returns the questions of all files; of a benchmark with more than `count`, a seeded sample in file order.

    A question's benchmark is the one in its line, else its file's name without the ending. Raises QuestionError.
    """
    benchmarks: dict[str, list[Question]] = {}
    for path in paths:
        for question in read_questions(path):
            benchmarks.setdefault(question.benchmark, []).append(question)
    chosen: list[Question] = []
    for number, found in enumerate(benchmarks.values()):
        rng = np.random.default_rng([seed, number])
        kept = sorted(rng.choice(len(found), size=min(count, len(found)), replace=False))
        chosen += [found[place] for place in kept]
    return chosen


def read_questions(path: Path) -> list[Question]:
    """Returns all questions of one file. Raises QuestionError if the file is unreadable, malformed or empty."""
    questions = list(_questions(path, read_text(path, QuestionError)))
    if not questions:
        raise QuestionError(f"{path}: has no questions")
    return questions


def _questions(path: Path, text: str) -> Iterator[Question]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            found = decode_json(line)
        except ValueError as error:
            raise QuestionError(f"{where}: is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise QuestionError(f"{where}: is {line.strip()[:40]!r}, must be an object with `question` and `answer`")
        gold = _text(found, "answer", where).rpartition("####")[2].strip()
        if not gold:
            raise QuestionError(f"{where}: `answer` has nothing after its last ####")
        yield Question(
            text=_text(found, "question", where),
            benchmark=_name(found, "benchmark", where) if "benchmark" in found else unpacked(path).stem,
            split=_name(found, "split", where) if found.get("split") is not None else None,
            grade=partial(is_right, gold=gold),
            grade_boxed=partial(is_same, gold=gold),
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


def is_right(reply: str, gold: str) -> bool:
    """Whether the last box of a reply is `gold` or, if there is no box and `gold` is a number, its last number is."""
    boxed = last_boxed(reply)
    if boxed is not None:
        return is_same(boxed, gold)
    if _number(gold) is None:
        return False
    numbers = _NUMBERS.findall(_plain(reply))
    return bool(numbers) and is_same(numbers[-1], gold)


def is_same(answer: str, gold: str) -> bool:
    """Whether two answers are the same number or, if `gold` is no number, the same text."""
    number = _number(gold)
    return _word(answer) == _word(gold) if number is None else _number(answer) == number


def last_boxed(text: str) -> str | None:
    """Returns the content of the last complete `\\boxed{…}`, with nested braces; None: there is none."""
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for place in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[start:place].strip()
    return None


_SIGN = r"(?:(?<![\w)])[-+])?"  # excludes the minus of a subtraction
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])"
_NUMBERS = re.compile(rf"{_SIGN}(?:(?:{_GROUPED}|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?|\.[0-9]+)")
_ONE_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:/([0-9]*[1-9][0-9]*))?")
_LONGEST = 400  # characters of a number; repetitive models write longer digit strings


def _plain(text: str) -> str:
    """Removes LaTeX and typography around numbers: \\$ \\, {,} − and the like."""
    text = text.replace("−", "-").replace("{,}", ",")
    return re.sub(r"\\[,;:! ]|\\?[$%]", "", text)


def _number(text: str) -> Fraction | None:
    bare = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", re.sub(r"\s", "", _plain(text))).rstrip(".")
    found = _ONE_NUMBER.fullmatch(bare)
    if found is None or len(bare) > _LONGEST:
        return None
    return Fraction(found[1]) / Fraction(found[2] or 1)


def _word(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
