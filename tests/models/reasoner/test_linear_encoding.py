"""The bundled tokenizer's pattern takes a time linear in the text, and cuts every text as the former one did."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from experiments.evaluation.questions import bundled_questions
from models.reasoner import bundled_model
from models.reasoner.tokenizer import SPLIT_PATTERN
from tests.support.engine_requests import search

FORMER = r"\n+|\*\*[A-Za-z ]+\*\*|\\[A-Za-z]+|[{}]| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}{}\\]+|\\| +(?=\S)|\s"
UNITS = [
    " ", "a", "1", "\n", "*", "**", "\\", "{", "}", "é", " \n", "\t", "\u00a0", "\U0001f600", "a ", "**a", "**a ",
    "\\a", "<", "<|", "</think", "\r\n", "\u2028", "\x00", "가", " \t", "  \u3000", "- ", "\ufffd",
]  # fmt: skip
PIECES = [" ", "  ", "   ", "\n", "\t", "\r", "a", "Wait", "1", "42", "*", "**", "\\", "\\boxed", "{", "}", ".",
          ",", "é", "\u00a0", "\u3000", "<|im_end|>", "</think>", "<think>", "=", "**Final Answer**",
          "\U0001f600"]  # fmt: skip


@pytest.fixture(scope="module")
def present() -> Tokenizer:
    return Tokenizer.from_file(str(bundled_model() / "tokenizer.json"))


@pytest.fixture(scope="module")
def former() -> Tokenizer:
    said = json.loads((bundled_model() / "tokenizer.json").read_text(encoding="utf-8"))
    said["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = FORMER
    return Tokenizer.from_str(json.dumps(said))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_the_files_pattern_is_the_one_in_the_source() -> None:
    said = json.loads((bundled_model() / "tokenizer.json").read_text(encoding="utf-8"))
    assert said["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] == SPLIT_PATTERN


def test_the_bundled_questions_have_the_ids_that_they_had(present: Tokenizer, former: Tokenizer) -> None:
    questions = [question.text for question in bundled_questions(500, seed=0)]
    assert len(questions) >= 2000
    for text in questions:
        assert ids(present, text) == ids(former, text)


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
@search(1000)
def test_any_text_has_the_ids_that_it_had(present: Tokenizer, former: Tokenizer, text: str) -> None:
    assert ids(present, text) == ids(former, text)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_a_run_of_one_text_is_encoded_in_a_linear_time(present: Tokenizer, unit: str) -> None:
    def taken(size: int) -> float:
        text = (unit * size)[:size]
        began = time.perf_counter()
        present.encode_batch_fast([text], add_special_tokens=False)
        return time.perf_counter() - began

    taken(1000)
    short = min(taken(31_250) for _ in range(3))
    assert taken(1_000_000) < 32 * max(short, 0.02) * 8  # 32 times the length; a square would be 1024 times


@pytest.mark.slow
@pytest.mark.parametrize("unit", [" ", "a", "\n"], ids=ascii)
def test_a_body_full_of_one_character_is_encoded_within_a_minute(present: Tokenizer, unit: str) -> None:
    began = time.perf_counter()
    present.encode_batch_fast([unit * (4 << 20)], add_special_tokens=False)
    assert time.perf_counter() - began < 60.0  # 150,000 blanks once took 42 s, and time grew with the square
