from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.chat_model import load_chat_model
from models.tokenizer import ChatTokenizer, TokenizerError
from tests.support.templates import CHATML, rebuild, save_templated

ASKED = {"role": "user", "content": "?"}
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


def test_a_chat_template_of_one_s_own_takes_the_place_of_the_model_s(tmp_path: Path) -> None:
    model = save_templated(tmp_path, CHATML)
    own = tmp_path / "own.jinja"
    own.write_text("{% for m in messages %}Q: {{ m.content }}\n{% endfor %}A: ", "utf-8")
    chat = load_chat_model(model, chat_template=own)
    asked = [{"role": "user", "content": "1 + 1?"}]
    assert chat.tokenizer.decode(chat.prompt(asked)).startswith("Q: 1 + 1?\nA: ")
    assert chat.prompt(asked) != load_chat_model(model).prompt(asked)
    with pytest.raises(TokenizerError, match=r"none\.jinja: cannot be read"):
        load_chat_model(model, chat_template=tmp_path / "none.jinja")
    own.write_text("{{ raise_exception('not here') }}", "utf-8")
    with pytest.raises(TokenizerError, match=r"own\.jinja: the chat template rejects these messages: not here"):
        load_chat_model(model, chat_template=own)


@pytest.mark.parametrize(
    ("prompt", "continues"),
    [
        ("def f():\n", True),
        ("\n", True),
        ("<think>", False),
        ("<think>\n \n", False),  # white space behind the marker is the marker's
        ("<think>\nSo", True),
        ("<think>\nSo\n", True),
        ("<think>\nSo</think>", True),
        ("<think>\nSo</think>\n\nIt is", True),
        ("<|im_start|>assistant\n", True),
    ],
)
def test_a_raw_prompt_is_a_text_that_the_reply_goes_on_with(tmp_path: Path, prompt: str, continues: bool) -> None:
    assert load_chat_model(save_templated(tmp_path, CHATML)).raw(prompt).continues is continues


def test_a_chat_goes_on_with_a_text_only_where_that_is_asked_for(tmp_path: Path) -> None:
    chat = load_chat_model(save_templated(tmp_path, CHATML))
    begun = [ASKED, {"role": "assistant", "content": "It is"}]
    assert chat.begin(begun, continued=True).continues
    assert not chat.begin(begun).continues
    assert not chat.begin([ASKED]).continues
    begun[1] = {"role": "assistant", "content": "<think>\nSo"}
    assert chat.begin(begun, continued=True).continues
    begun[1] = {"role": "assistant", "content": "<think>\n"}
    assert not chat.begin(begun, continued=True).continues
