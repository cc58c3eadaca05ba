"""The vocabulary of a synthetic reasoner, a few dozen tokens: markers, paragraph ends, digits, filler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from models.thinking import ThinkingFormat, ThinkingTokens, TransitionFormat

FILLER, PARAGRAPH_END, STOP = " so", "\n\n", "<end>"
FORMAT = ThinkingFormat(
    transitions=TransitionFormat(words=(), min_gap=32)
)  # no cue words: "Wait" begins a paragraph, so it would add no places
SUBJECTS = 16  # number of subjects of prompts, easiest first

_PIECE = re.compile(r"</?think>|\n\n|<end>| ?[^\W\d]+|\d|.", re.DOTALL)


class SyntheticVocabulary:
    """Encodes and decodes only a synthetic reasoner's texts. Implements `models.tokenizer.Decoder`."""

    def __init__(self) -> None:
        said = (FORMAT.opening, FORMAT.landing, FORMAT.probe.suffix, f"\n{FORMAT.close}\n\n", "}", FILLER, STOP)
        pieces = [piece for text in (*said, "0123456789") for piece in _PIECE.findall(text)]
        subjects = [f" subject-{number}" for number in range(SUBJECTS)]
        self.texts: tuple[str, ...] = tuple(dict.fromkeys((*pieces, *subjects)))
        self._ids = {text: number for number, text in enumerate(self.texts)}

    def encode(self, text: str) -> list[int]:
        """Returns token ids. Raises KeyError if a piece of the text is not in the vocabulary."""
        return [self._ids[piece] for piece in _PIECE.findall(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.texts[token] for token in tokens)

    def stream(self, before: Sequence[int] = ()) -> Spelling:
        return Spelling(self)

    def id(self, text: str) -> int:
        """Returns the token of this text."""
        return self._ids[text]

    def subject(self, number: int) -> int:
        """Returns the token that names a subject."""
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
    """One reply's text stream; every token is whole characters."""

    def __init__(self, vocabulary: SyntheticVocabulary) -> None:
        self._vocabulary = vocabulary

    def push(self, token: int) -> str:
        return self._vocabulary.texts[token]

    def rest(self) -> str:
        return ""
