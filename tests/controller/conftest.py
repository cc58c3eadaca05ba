"""A real engine on tiny models, a tiny tokenizer, and a client that hears what the loop says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.tokenizer import ChatTokenizer
from tests.support.serving_bench import Bench
from tests.support.tiny_models import Oracle, save_chain, save_model, save_tokenizer

# one token each in the tiny vocabulary: what a chain model's thoughts and answers are made of


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return ChatTokenizer(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, tokenizer: ChatTokenizer) -> Callable[..., Bench]:
    """A loop on a model that follows a script: `{"a": "b"}` says b after a, `{"a": {"b": 0.9}}` how surely."""
    made: dict[str, Path] = {}

    def open_(script: Mapping[str, str | Mapping[str, float]], **options: Any) -> Bench:
        key = repr(script)
        if key not in made:

            def single(text: str) -> int:
                (token,) = tokenizer.encode(text)
                return token

            rows = {
                single(before): {single(text): p for text, p in row.items()}
                if isinstance(row, Mapping)
                else {single(row): 0.99}
                for before, row in script.items()
            }
            made[key] = save_chain(tmp_path_factory.mktemp("chain"), 432, rows)
        return Bench(made[key], tokenizer, **options)

    return open_


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, with more ids than the tokenizer has, as padded vocabularies do."""
    return save_model(tmp_path_factory.mktemp("random"), "qwen2", vocab_size=432)


@pytest.fixture(scope="session")
def random_oracle(random_model: Path) -> Oracle:
    return Oracle(random_model)
