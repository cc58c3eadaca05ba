from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.chat_model import load_chat_model
from models.tokenizer import ChatTokenizer, TokenizerError
from tests.support.templates import CHATML, rebuild, save_templated

UNKNOWING = [
    {"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.0]], "unk_id": None, "byte_fallback": False},
    {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"},
]


@pytest.mark.parametrize("model", UNKNOWING, ids=["Unigram", "WordLevel"])
def test_a_tokenizer_that_cannot_encode_is_told_at_load(tmp_path: Path, model: dict[str, Any]) -> None:
    save_templated(tmp_path, CHATML)
    rebuild(tmp_path, model=model)
    with pytest.raises(TokenizerError, match=r"the tokenizer cannot be (used|loaded)") as caught:
        load_chat_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("said", ["{", json.dumps({"model": UNKNOWING[0]})])
def test_a_file_that_cannot_be_compared_is_told(tmp_path: Path, said: str) -> None:
    tokenizer = ChatTokenizer(save_templated(tmp_path, CHATML))
    (tmp_path / "tokenizer.json").write_text(said, "utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: the tokenizer cannot be used"):
        _ = tokenizer.note
