"""A model's tokenizer as the server needs it: chat prompts in, streamed text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from models.errors import LaserError

LONG = 2_000  # characters or tokens; longer inputs go as batches, the only calls that let other threads run


class TokenizerError(LaserError, ValueError):
    """The tokenizer's files are missing or unusable, or the messages do not fit its chat template."""


class Streamed(Protocol):
    """Turns one reply's tokens into text as they come."""

    def push(self, token: int) -> str:
        """Takes the next token; returns the text that has become complete with it."""

    def rest(self) -> str:
        """Returns the text still held back, once."""


class Decoder(Protocol):
    """Tokens in, text out."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of `tokens`."""

    def stream(self) -> Streamed:
        """A decoder for one reply."""


class Vocabulary(Protocol):
    """Text in, tokens out."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each token by id; ids without a token are empty."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; markers such as `</think>` become their special tokens."""


class ChatTokenizer:
    """Encodes chats and text, and decodes token streams, with a model directory's tokenizer files."""

    def __init__(self, directory: Path) -> None:
        from transformers import AutoTokenizer  # heavy; only when a model is really loaded

        if not (directory / "tokenizer.json").is_file():
            raise TokenizerError(f"{directory}: tokenizer.json is missing")
        try:
            self._auto: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise TokenizerError(f"{directory}: the tokenizer cannot be loaded: {error}") from error
        self._fast: Tokenizer = self._auto.backend_tokenizer

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; markers such as `</think>` become their special tokens."""
        if len(text) > LONG:
            (encoding,) = self._fast.encode_batch([text], add_special_tokens=False)
        else:
            encoding = self._fast.encode(text, add_special_tokens=False)
        return list(encoding.ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of `tokens`, special tokens included."""
        if len(tokens) > LONG:
            (text,) = self._fast.decode_batch([list(tokens)], skip_special_tokens=False)
            return text
        return self._fast.decode(list(tokens), skip_special_tokens=False)

    def render(self, messages: Sequence[Mapping[str, Any]], **template_options: Any) -> list[int]:
        """Returns a chat's prompt tokens, up to where the assistant's reply begins.

        Raises TokenizerError if the chat template rejects the messages.
        """
        try:
            text = self._auto.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True, **template_options
            )
        except Exception as error:  # jinja raises whatever the template's author chose
            raise TokenizerError(f"the chat template rejects these messages: {error}") from error
        return self.encode(text)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each token by id, special tokens included; ids without a token are empty."""
        size = max(self._fast.get_vocab(with_added_tokens=True).values()) + 1
        return tuple(self._fast.decode_batch([[i] for i in range(size)], skip_special_tokens=False))

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokenizer's own end-of-sequence token, if it has one."""
        eos = self._auto.eos_token_id
        return frozenset() if eos is None else frozenset((int(eos),))

    def stream(self) -> TextStream:
        """A decoder for one reply."""
        return TextStream(self._fast)


class TextStream:
    """Turns tokens into text one at a time, holding back bytes until they make whole characters.

    Each token is decoded together with the tokens of the previous piece, since tokenizers join pieces by context.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []  # the tokens of the last piece given out
        self._held: list[int] = []  # tokens since then

    def push(self, token: int) -> str:
        """Takes the next token; returns the text that has become complete with it, often one word, sometimes none."""
        self._held.append(token)
        text = self._text()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._before, self._held = self._held, []
        return text

    def rest(self) -> str:
        """Returns the text still held back, once; half characters become U+FFFD."""
        text, self._held = self._text() if self._held else "", []
        return text

    def _text(self) -> str:
        before = self._tokenizer.decode(self._before, skip_special_tokens=False)
        return self._tokenizer.decode(self._before + self._held, skip_special_tokens=False)[len(before) :]
