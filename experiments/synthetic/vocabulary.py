"""A vocabulary of a few dozen tokens, in which a synthetic reasoner thinks: markers, paragraph ends, digits, filler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from models.thinking import ThinkingFormat, ThinkingTokens, TransitionFormat

FILLER, PARAGRAPH_END, STOP = " so", "\n\n", "<end>"
FORMAT = ThinkingFormat(
    transitions=TransitionFormat(words=(), min_gap=32)
)  # with "Wait" paragraphs begin: no new places
SUBJECTS = 16  # what a prompt can be about, easiest first

_PIECE = re.compile(r"</?think>|\n\n|<end>| ?[^\W\d]+|\d|.", re.DOTALL)


class SyntheticVocabulary:
    """Encodes only what a synthetic reasoner says. See `models.tokenizer.Decoder`."""

    def __init__(self) -> None:
        said = (FORMAT.opening, FORMAT.landing, FORMAT.probe.suffix, f"\n{FORMAT.close}\n\n", "}", FILLER, STOP)
        pieces = [piece for text in (*said, "0123456789") for piece in _PIECE.findall(text)]
        subjects = [f" subject-{number}" for number in range(SUBJECTS)]
        self.texts: tuple[str, ...] = tuple(dict.fromkeys((*pieces, *subjects)))
        self._ids = {text: number for number, text in enumerate(self.texts)}

    def encode(self, text: str) -> list[int]:
        """Token ids; KeyError for what is not in it."""
        return [self._ids[piece] for piece in _PIECE.findall(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.texts[token] for token in tokens)

    def stream(self) -> Spelling:
        return Spelling(self)

    def id(self, text: str) -> int:
        """The token of this text."""
        return self._ids[text]

    def subject(self, number: int) -> int:
        """The token that names a subject."""
        return self._ids[f" subject-{number}"]

    @cached_property
    def thinking(self) -> ThinkingTokens:
        """The thinking format in these tokens."""
        return ThinkingTokens(FORMAT, self)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The token that ends a reply."""
        return frozenset((self.id(STOP),))


class Spelling:
    """One reply's text: each token is whole."""

    def __init__(self, vocabulary: SyntheticVocabulary) -> None:
        self._vocabulary = vocabulary

    def push(self, token: int) -> str:
        return self._vocabulary.texts[token]

    def rest(self) -> str:
        return ""
