from __future__ import annotations

import pytest

from models.grammar.compiling import Grammars
from models.grammar.vocabulary import GrammarVocabulary
from models.reasoner import bundled_model
from models.tokenizer import ChatTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(bundled_model())


@pytest.fixture(scope="session")
def grammars(tokenizer: ChatTokenizer) -> Grammars:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids)
    return Grammars(lambda: vocabulary)
