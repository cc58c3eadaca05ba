"""A model's tokenizer as the server needs it: chat prompts in, streamed text out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from models.directory import TEMPLATE_BYTES, TOKENIZER, beside, gguf_of, there
from models.errors import LaserError
from models.files.json_file import read_plain
from models.foreign import told
from models.gguf.vocabulary import load_tokenizer
from models.grammar.token_bytes import bytes_of
from models.prompts.agreement import difference
from models.prompts.history import Marker
from models.prompts.markers import Markers, changed, texts_of
from models.prompts.plain import plain_tokenizer
from models.prompts.template import RESERVED, Chat, ChatTemplate
from models.tools.form import CallFormat, told_by
from models.tools.habits import ToolHabits, learn_tools

_UNTOLD = (
    "the messages spell a marker that the chat template looks for, or a part of one, so it cannot be told from the "
    "template's own: leave it out, or let the server trust markers"
)
LONG = 2_000  # characters or tokens; longer inputs go as batches, the only calls that let other threads run

ASKED = {"role": "user", "content": "?"}
SAID = {"role": "assistant", "content": "?"}
CALLED = {**SAID, "tool_calls": [{"id": "0", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]}
TOOLS = ({"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object"}}},)
SAMPLES: tuple[Chat, ...] = tuple(
    Chat(messages=messages, header=header)
    for messages in (
        (ASKED,),
        (ASKED, SAID, ASKED),
        ({"role": "system", "content": "?"}, ASKED),
        (ASKED, {**SAID, "reasoning_content": "?"}, ASKED),
        (ASKED, {**SAID, "reasoning_content": "?"}),
        (ASKED, CALLED, {"role": "tool", "content": "?", "tool_call_id": "0", "name": "f"}),
    )
    for header in (True, False)
)
"""Chats without markers, by which a template is known."""
TOOLED = tuple(replace(chat, tools=TOOLS) for chat in SAMPLES)


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

    def stream(self, before: Sequence[int] = ()) -> Streamed:
        """A decoder for one reply. `before`: tokens whose text the reply goes on with."""


class Vocabulary(Decoder, Protocol):
    """Text in, tokens out, and back."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each token by id; ids without a token are empty."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; markers such as `</think>` become their special tokens."""


class ChatTokenizer:
    """Encodes chats and text, and decodes token streams, with the tokenizer of a model's directory or GGUF file."""

    def __init__(self, directory: Path, template: Path | None = None) -> None:
        """`template`: the file of a chat template; None: the model's own. Raises TokenizerError or GGUFError."""
        self._auto: Any = _load(directory)
        if template is not None:
            self._auto.chat_template = read_plain(template, TokenizerError, most_bytes=TEMPLATE_BYTES)
        self._fast: Tokenizer = self._auto.backend_tokenizer
        self._fast.no_truncation()  # transformers' call cuts and pads only where it is asked to
        self._fast.no_padding()
        self._directory = directory
        self._file = directory / TOKENIZER  # which AutoTokenizer has read; a GGUF file has none
        self._named: frozenset[int] = frozenset()

    @property
    def note(self) -> str | None:
        """What may surprise of these tokens: transformers splits text otherwise than the file; None: nothing."""
        file = self._file
        if not file.is_file():
            return None
        with told(f"{file}: the tokenizer cannot be used", TokenizerError):
            otherwise = difference(self._fast, file)
        if otherwise is None:
            return None
        name = type(self._auto).__name__
        return (
            f"{file}: the tokens are those of transformers' {name}, which the configuration names, not the file's "
            f"({otherwise}); tokenizer_class: TokenizersBackend in tokenizer_config.json gives the file's"
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; markers such as `</think>` become their special tokens."""
        return self._ids(self._fast, text)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of what somebody has written; markers in it are plain text.

        Raises TokenizerError if this tokenizer cannot encode a marker as text.
        """
        if not self.markers.spelled_in(text):
            return self._ids(self._fast, text)
        return self._apart(text)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a raw prompt, as transformers' call gives them: with the BOS that the tokenizer adds.

        A BOS that the text itself begins with is not doubled.
        """
        ids, bos = self._ids(self._fast, text, special=True), self._auto.bos_token_id
        return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids

    def _ids(self, tokenizer: Tokenizer, text: str, *, special: bool = False) -> list[int]:
        if len(text) > LONG:
            (encoding,) = tokenizer.encode_batch([text], add_special_tokens=special)
        else:
            encoding = tokenizer.encode(text, add_special_tokens=special)
        return list(encoding.ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The whole text of `tokens`, special tokens included."""
        if len(tokens) > LONG:
            (text,) = self._fast.decode_batch([list(tokens)], skip_special_tokens=False)
            return text
        return self._fast.decode(list(tokens), skip_special_tokens=False)

    def render(self, chat: Chat, *, trusted: bool = False, then: Sequence[str] = ()) -> list[int]:
        """Returns a chat's prompt tokens.

        The tokens are those of transformers' own call, but markers that messages or options spell are plain text,
        unless `trusted`. `then` follows the chat: texts, of which each `Marker` is the server's.
        Raises TokenizerError if the chat template rejects the messages, or if it cannot be told which markers are the
        template's own.
        """
        reserved = sorted(RESERVED & set(chat.options))
        if reserved:
            raise TokenizerError(
                f"chat_template_kwargs has {reserved[0]!r}, which is no variable of the template's own"
            )
        text = self._rendered(chat)
        if trusted:
            return self.encode(self.markers.show(text) + "".join(then))
        ours = (self.markers.hide(each) if isinstance(each, Marker) else each for each in then)
        hidden = self._hidden(chat, text) + "".join(ours)
        if not self.markers.spelled_in(hidden):
            return self.encode(self.markers.show(hidden))
        return self._apart(hidden)

    def _rendered(self, chat: Chat) -> str:
        try:
            return self.template.render(chat)
        except Exception as error:  # jinja raises whatever the template's author chose
            raise TokenizerError(f"the chat template rejects these messages: {error}") from error

    def _hidden(self, chat: Chat, text: str) -> str:
        """Returns the rendered `text` with hidden spellings in place of the template's own markers."""
        if self._literal and (not chat.tools or self._literal_tools):
            try:
                hidden = self.template.hidden(chat)
            except Exception:
                hidden = ""
            if self.markers.show(hidden) == self.markers.show(text):
                return hidden
        return self._set_aside(chat, text)

    def _set_aside(self, chat: Chat, text: str) -> str:
        """Renders with blanks in place of what markers are made of in messages, and puts it back behind the render."""
        for each in (*texts_of(chat.messages), *texts_of(chat.options), *texts_of(chat.tools)):
            rest = self.markers.replace_edges(each, lambda _: self.markers.blank)
            if not each.isalnum() and self.markers.may_arise_from(rest):  # one word may be a role, in brackets
                raise TokenizerError(_UNTOLD)
        places: dict[str, int] = {}

        def blank(part: str) -> str:
            return f"{self.markers.blank}{places.setdefault(part, len(places))}{self.markers.blank}"

        def put_back(rendered: str) -> str:
            parts, frame = tuple(places), re.escape(self.markers.blank)
            return re.sub(rf"{frame}(\d+){frame}", lambda found: parts[int(found[1])], rendered)

        def set_aside(value: Any) -> Any:
            return changed(value, lambda each: self.markers.replace_edges(each, blank))

        messages, options, tools = (set_aside(each) for each in (chat.messages, chat.options, chat.tools))
        aside = replace(chat, messages=messages, options=options, tools=tools)
        try:
            rendered = self._rendered(aside)
        except TokenizerError:  # whose message may show the blanks, which nobody may know
            raise TokenizerError(_UNTOLD) from None
        if put_back(rendered) != text:
            raise TokenizerError(_UNTOLD)
        return put_back(self.markers.hide(rendered))

    def _apart(self, hidden: str) -> list[int]:
        """Encodes a text whose markers are hidden; those that are spelled out are plain text."""
        copy = self.markers.copy
        if copy is None:
            raise TokenizerError("a text spells a marker, which this model's tokenizer cannot encode as text")
        return self._ids(copy, hidden)

    @cached_property
    def markers(self) -> Markers:
        """The tokenizer's control tokens."""
        return Markers(self._fast, self._named)

    def name(self, markers: Iterable[int]) -> None:
        """Makes control tokens of the added tokens `markers`, whatever they look like.

        Raises TokenizerError for a token that is none of those that the tokenizer adds to its vocabulary.
        """
        self._named = frozenset(markers)
        for each in ("markers", "template", "tool_habits", "_literal", "_literal_tools"):
            self.__dict__.pop(each, None)
        for one in self._named - self.markers.ids:
            raise TokenizerError(
                f"{self._directory}: marker {self.texts[one]!r} is an ordinary token, must be an added one to be told "
                "from the same text in a message; or let the server trust markers"
            )

    @cached_property
    def template(self) -> ChatTemplate:
        """The model's chat template."""
        return ChatTemplate(self._auto, self.markers)

    @cached_property
    def call_form(self) -> CallFormat | None:
        """How the chat template shows its model to write tool calls; None: it shows none that is known."""
        return told_by(self.template.source or "")

    @cached_property
    def tool_habits(self) -> ToolHabits:
        """What the chat template does with tools."""
        return learn_tools(self.template.render, self.call_form)

    @cached_property
    def _literal(self) -> bool:
        """Whether the template writes each of its markers in one piece, so that these can be hidden in its source."""
        return not any(map(self._spells, SAMPLES))

    @cached_property
    def _literal_tools(self) -> bool:
        """Whether it also does where it shows tools."""
        return not any(map(self._spells, TOOLED))

    def _spells(self, chat: Chat) -> bool:
        try:
            return self.markers.spelled_in(self.template.hidden(chat))
        except Exception:  # not every template takes every chat
            return False

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each token by id, special tokens included; ids without a token are empty."""
        size = max(self._fast.get_vocab(with_added_tokens=True).values()) + 1
        return tuple(self._fast.decode_batch([[i] for i in range(size)], skip_special_tokens=False))

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes that each token adds to a text, by id; control tokens and ids without a token have none."""
        return bytes_of(self._fast, self.markers.ids)

    @cached_property
    def spellings(self) -> tuple[bytes, ...]:
        """What each token is spelled with, by id: its bytes, or a control token's text."""
        return tuple(spelled or text.encode() for spelled, text in zip(self.token_bytes, self.texts, strict=True))

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokenizer's own end-of-sequence token, if it has one."""
        eos = self._auto.eos_token_id
        return frozenset() if eos is None else frozenset((int(eos),))

    def stream(self, before: Sequence[int] = ()) -> TextStream:
        """A decoder for one reply. `before`: tokens whose text the reply goes on with."""
        return TextStream(self._fast, before)


def _load(model: Path) -> Any:
    """Returns a model's tokenizer as transformers loads it. Raises TokenizerError or GGUFError."""
    gguf = gguf_of(model)
    if gguf is not None:
        file = beside(model, TOKENIZER)
        return load_tokenizer(gguf, file if there(file, TokenizerError) else None)
    if not (model / TOKENIZER).is_file():
        raise TokenizerError(f"{model}: {TOKENIZER} is missing")
    with told(f"{model}: the tokenizer cannot be loaded", TokenizerError):
        plain = plain_tokenizer(model, TokenizerError)
    if plain is not None:
        return plain
    from transformers import AutoTokenizer  # heavy; only where it is needed

    with told(f"{model}: the tokenizer cannot be loaded", TokenizerError):
        return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)


class TextStream:
    """Turns tokens into text one at a time, holding back bytes until they make whole characters.

    Each token is decoded together with the tokens of the previous piece, since tokenizers join pieces by context.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._before = self._whole_end(before)  # the tokens of the last piece given out
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

    def _whole_end(self, tokens: Sequence[int]) -> list[int]:
        """Returns the last tokens, as few as make whole characters; none if no few of them do."""
        for count in range(1, min(len(tokens), MOST_OF_A_CHARACTER) + 1):
            text = self._tokenizer.decode(list(tokens[-count:]), skip_special_tokens=False)
            if text and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                return list(tokens[-count:])
        return []


MOST_OF_A_CHARACTER = 5  # tokens: a blank, which some tokenizers do not say first, and four bytes
