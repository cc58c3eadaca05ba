"""A chat model for each family's template, and the ids that transformers' own call gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from models.chat_model import ChatModel, load_chat_model
from tests.support.templates import TEMPLATES, save_templated

Ids = Callable[..., list[int]]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ChatModel]:
    """The chat model of a family's template."""

    @cache
    def load(name: str) -> ChatModel:
        return load_chat_model(save_templated(tmp_path_factory.mktemp(name), TEMPLATES[name]))

    return load


def theirs(directory: Path, messages: list[dict[str, Any]], **options: Any) -> list[int]:
    """The ids of transformers' own call."""
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ids: list[int] = auto.apply_chat_template(
        messages, tokenize=True, return_dict=False, **{"add_generation_prompt": True, **options}
    )
    return ids
