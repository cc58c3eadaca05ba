from __future__ import annotations

from pathlib import Path

import pytest

from models.tokenizer import ChatTokenizer
from tests.support.tiny_models import save_tokenizer


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_directory: Path) -> ChatTokenizer:
    return ChatTokenizer(tokenizer_directory)
