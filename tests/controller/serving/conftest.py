"""Grammars for the models on benches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models.grammar.compiling import Grammars
from models.grammar.vocabulary import GrammarVocabulary
from models.tokenizer import ChatTokenizer
from tests.support.serving_bench import Bench

Chain = Callable[..., Bench]


@pytest.fixture(scope="module")
def grammars(tokenizer: ChatTokenizer) -> Grammars:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids, 432)
    return Grammars(lambda: vocabulary)


@pytest.fixture
def held(chain: Chain, grammars: Grammars) -> Chain:
    """As `chain`, with answers that grammars may hold."""

    def open_(script: Any, **options: Any) -> Bench:
        return chain(script, grammars=grammars, **options)

    return open_
