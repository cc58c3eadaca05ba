"""A chat model for each template that takes tools, and for one that does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from models.chat_model import ChatModel, load_chat_model
from tests.support.templates import CHATML, save_templated
from tests.support.tool_templates import TOOLED


@pytest.fixture(scope="session")
def tooled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ChatModel]:
    """The chat model of a template, by its name; `none` takes no tools."""

    @cache
    def load(name: str) -> ChatModel:
        template = {**TOOLED, "none": CHATML}[name]
        return load_chat_model(save_templated(tmp_path_factory.mktemp("tooled"), template))

    return load
