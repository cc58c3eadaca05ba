"""A prompt's ids are those of transformers' own call, whatever stands in the directory's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.chat_model import ChatModel, load_chat_model
from models.prompts.agreement import TEXTS
from models.prompts.template import Chat
from models.tokenizer import ChatTokenizer, TokenizerError
from tests.support.templates import TEMPLATES, configure, rebuild, save_templated, theirs

QUESTION = "Given 37, 82, 51, 92, what is the largest number? " * 3
CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": QUESTION}],
    [
        {"role": "system", "content": "Be brief, say 7.\n"},
        {"role": "user", "content": " naïve 猫 🐈  \n\n"},
        {"role": "assistant", "content": "7 < 8 > 6"},
        {"role": "user", "content": "<b>why</b>?"},
    ],
]
TRUNCATION = {"direction": "Right", "max_length": 20, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 300},
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}


@pytest.mark.parametrize("messages", CHATS, ids=["question", "chat"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_without_markers_has_transformers_ids(
    model: Callable[[str], ChatModel], tmp_path: Path, name: str, messages: list[dict[str, Any]]
) -> None:
    tokenizer = model(name).tokenizer
    save_templated(tmp_path, TEMPLATES[name])
    assert tokenizer.render(Chat(messages=messages)) == theirs(tmp_path, messages)


@pytest.mark.parametrize("sections", [{"truncation": TRUNCATION}, {"padding": PADDING}], ids=str)
def test_a_chat_is_neither_cut_nor_padded(tmp_path: Path, sections: dict[str, Any]) -> None:
    rebuild(save_templated(tmp_path, TEMPLATES["chatml"]), **sections)
    tokenizer = ChatTokenizer(tmp_path)
    ids = tokenizer.render(Chat(messages=CHATS[0]))
    assert ids == theirs(tmp_path, CHATS[0])
    assert QUESTION in tokenizer.decode(ids)
    assert "<|endoftext|>" not in tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["TokenizersBackend", "Qwen2Tokenizer", "LlamaTokenizerFast", "GPT2Tokenizer"])
def test_a_class_that_the_configuration_names_is_followed_and_told(tmp_path: Path, name: str) -> None:
    configure(save_templated(tmp_path, TEMPLATES["chatml"]), tokenizer_class=name)
    tokenizer = ChatTokenizer(tmp_path)
    assert tokenizer.render(Chat(messages=CHATS[0])) == theirs(tmp_path, CHATS[0])
    told = tokenizer.note
    assert (told is None) == all(tokenizer.encode(text) == _of_the_file(tmp_path, text) for text in TEXTS)


def test_a_model_type_that_stands_for_another_class_is_followed_and_told(tmp_path: Path) -> None:
    save_templated(tmp_path, TEMPLATES["chatml"])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    tokenizer = ChatTokenizer(tmp_path)
    assert tokenizer.render(Chat(messages=CHATS[0])) == theirs(tmp_path, CHATS[0])
    assert tokenizer.note is not None
    assert "transformers' Qwen2Tokenizer" in tokenizer.note


def _of_the_file(directory: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_file(str(directory / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("added", [False, True])
def test_a_raw_prompt_gets_the_bos_that_the_tokenizer_adds(tmp_path: Path, added: bool) -> None:
    from transformers import AutoTokenizer

    chat = load_chat_model(save_templated(tmp_path, TEMPLATES["llama3"]))
    if added:
        text, bos = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
        known = {"<s>": {"id": "<s>", "ids": chat.tokenizer.encode("<s>"), "tokens": ["<s>"]}}
        adds = {"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text], "special_tokens": known}
        rebuild(tmp_path, post_processor=adds)
        chat = load_chat_model(tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert list(chat.raw("3 + 4 = ").tokens) == auto("3 + 4 = ")["input_ids"]
    (begin,) = chat.tokenizer.encode("<s>")
    assert (chat.raw("3 + 4 = ").tokens[0] == begin) is added
    assert chat.raw("<s>3 + 4 = ").tokens.count(begin) == 1
    assert chat.prompt(CHATS[0]).count(begin) == 1  # the template writes one, none is added


@pytest.mark.parametrize("name", ["tokenize", "messages", "chat_template", "continue_final_message"])
def test_the_renderer_s_own_names_are_no_variables(model: Callable[[str], ChatModel], name: str) -> None:
    with pytest.raises(TokenizerError, match=f"chat_template_kwargs has '{name}'"):
        model("chatml").begin(CHATS[0], options={name: False})


def test_a_token_without_a_row_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    chat = load_chat_model(save_templated(tmp_path, TEMPLATES["chatml"]))
    (last,) = chat.tokenizer.encode("<tool_response>")
    small = replace(chat, rows=last)
    assert small.raw("7").tokens
    for prompt in ("<tool_response>", (5, last)):
        with pytest.raises(TokenizerError, match=rf"has token {last} \('<tool_response>'\), must lie in 0…{last - 1}"):
            small.raw(prompt)
    assert small.prompt([{"role": "user", "content": "say <tool_response>"}])  # there it is text
    with pytest.raises(TokenizerError, match=f"has token {last}"):
        replace(small, trust_markers=True).prompt([{"role": "user", "content": "say <tool_response>"}])
