"""The tokenizer of a model directory that asks nothing of transformers, without transformers, whose import takes long.

Where a directory says no more than its tokenizer.json and how a few tokens are called, transformers' class hands on
what tokenizers reads, and renders chats with Jinja. All else is left to transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from tokenizers import Tokenizer

from models.files.json_file import read_object
from models.prompts.dialect import Dictionary, environment

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The names of tokens, in transformers' order."""
UNREAD = frozenset({"backend", "clean_up_tokenization_spaces", "model_max_length", "padding_side", "tokenizer_class"})
"""What tokenizer_config.json may say that changes neither tokens nor prompts here."""
CLASSES = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})  # that take tokenizer.json as it is
TYPES = frozenset({"llama", "qwen3"})  # of models, for which transformers believes that class
FURTHER = "special_tokens_map.json", "added_tokens.json", "chat_template.json", "additional_chat_templates"
MOST_TOKENS = 100_000  # of larger vocabularies transformers asks whether their rule of splitting is a known wrong one
THOUGHTS = "reasoning_content", "thinking", "reasoning"  # names of a message's thought
TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # where a message goes on


class PlainTokenizer:
    """A tokenizer and its chat template, with what is used of transformers' classes."""

    def __init__(self, tokenizer: Tokenizer, named: Mapping[str, str], chat_template: str | None) -> None:
        """`named`: the texts of tokens by the names of NAMED. `chat_template` None: there is none."""
        self.backend_tokenizer = tokenizer
        self.special_tokens_map = {name: named[name] for name in NAMED if name in named}
        self.chat_template = chat_template

    @property
    def bos_token_id(self) -> int | None:
        return self._id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._id("eos_token")

    def _id(self, name: str) -> int | None:
        text = self.special_tokens_map.get(name)
        return None if text is None else self.backend_tokenizer.token_to_id(text)

    def get_chat_template(self) -> str:
        """Returns the template as it is written. Raises ValueError if there is none."""
        if self.chat_template is None:
            raise ValueError("the tokenizer has no chat template")
        return self.chat_template

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        tokenize: bool,
        add_generation_prompt: bool,
        continue_final_message: bool,
        **options: Any,
    ) -> str:
        """Returns a chat as text, as transformers renders it. Raises whatever the template's author chose.

        `tokenize` is there for transformers' sake, and must be false.
        """
        assert not tokenize
        template = _compiled(self.get_chat_template())
        if not messages:
            raise ValueError("the chat is empty, must have at least 1 message")
        chat = [_with_thought({name: value for name, value in each.items() if value is not None}) for each in messages]
        last = chat[-1].get("content")
        if continue_final_message:
            self._tag(chat, last)
        text = template.render(
            messages=chat,
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **{**self.special_tokens_map, **options},
        )
        return _cut(text, str(last)) if continue_final_message else text

    def _tag(self, chat: list[dict[str, Any]], last: object) -> None:
        """Marks the end of the last message's content. Raises ValueError if there is none to go on with."""
        if last is None or "content" not in self.get_chat_template():
            raise ValueError("the last message has no content that the chat template reads, to go on with")
        if not isinstance(last, str):
            raise ValueError("the last message's content is no text, to go on with")
        chat[-1]["content"] = f"{last}{TAG}"


@lru_cache(maxsize=4)
def _compiled(source: str) -> Template:
    made = environment()
    made.globals["dict"] = Dictionary()
    return made.from_string(source)


def plain_tokenizer(directory: Path, error: type[Exception]) -> PlainTokenizer | None:
    """Returns the tokenizer of a directory; None: it is one for transformers. Raises `error` for a damaged file."""
    files = directory / "tokenizer_config.json", directory / "config.json"
    if not all(file.is_file() for file in files) or any((directory / name).exists() for name in FURTHER):
        return None
    said, model = (read_object(file, error) for file in files)
    named = {name: text for name in NAMED if (text := said.get(name)) is not None}
    template = said.get("chat_template")
    if not (
        set(said) <= {*NAMED, *UNREAD, "chat_template"}
        and said.get("tokenizer_class") in CLASSES
        and said.get("backend", "tokenizers") == "tokenizers"
        and all(isinstance(text, str) and text for text in named.values())
        and isinstance(template, str | None)
        and model.get("model_type") in TYPES
    ):
        return None
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    if tokenizer.get_vocab_size() > MOST_TOKENS or not special.issuperset(named.values()):  # transformers adds them so
        return None
    own = directory / "chat_template.jinja"  # goes before the configuration's
    return PlainTokenizer(tokenizer, named, own.read_text(encoding="utf-8") if own.is_file() else template)


def _with_thought(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a message with its thought under all names that templates read."""
    thought = next((message[name] for name in THOUGHTS if message.get(name) is not None), None)
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


def _cut(text: str, last: str) -> str:
    """Returns a rendered chat up to where its last message goes on. Raises ValueError if that does not show."""
    if last.strip() not in text or TAG.strip() not in text:
        raise ValueError("the last message does not stand in the chat as the template renders it, to go on with")
    end = text.rindex(TAG.strip())
    cut = text[:end]
    return cut if text.startswith(TAG, end) else cut.rstrip()  # the template has trimmed the message
