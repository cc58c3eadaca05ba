"""A chat model for each family's template."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from models.chat_model import ChatModel, load_chat_model
from tests.support.templates import TEMPLATES, save_templated


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ChatModel]:
    """The chat model of a family's template."""

    @cache
    def load(name: str) -> ChatModel:
        return load_chat_model(save_templated(tmp_path_factory.mktemp(name), TEMPLATES[name]))

    return load
