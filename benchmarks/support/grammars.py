"""Constraints by llguidance's matcher, over the bundled vocabulary and over a made one of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LaserError


class MatcherError(LaserError):
    """llguidance cannot go on."""


@dataclass(slots=True)
class Matched:
    """Implements `engine.constraint.Constraint` over one of llguidance's matchers."""

    matcher: Any  # the package's own class
    words: int  # of a mask, one for each 32 tokens

    @property
    def complete(self) -> bool:
        return bool(self.matcher.is_stopped())

    def mask(self) -> npt.NDArray[np.uint32]:
        return np.frombuffer(self.matcher.compute_bitmask(), np.uint32, self.words)

    def accept(self, token: int) -> None:
        if not self.matcher.consume_token(token):
            raise MatcherError(self.matcher.get_error())

    def copy(self) -> Matched:
        return Matched(self.matcher.deep_copy(), self.words)


def matched(tokenizer: Any, pattern: str) -> Matched:
    """A constraint to the texts of a regular expression, by the package's tokenizer."""
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_regex(pattern), log_level=0)
    return Matched(matcher, -(-tokenizer.vocab_size // 32))


def made_tokenizer(vocabulary: int, seed: int) -> Any:
    """A tokenizer of bytes and of random words of 2 to 9 letters, digits and blanks."""
    from llguidance import LLTokenizer, TokenizerWrapper

    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b'etaoinshrdlucmfwypvbgkqjxz 0123456789{}[]":,', np.uint8)
    words = {bytes([byte]) for byte in range(256)}
    while len(words) < vocabulary - 1:
        words.add(rng.choice(letters, int(rng.integers(2, 10))).tobytes())

    class Words:
        """As much of a tokenizer as llguidance reads."""

        eos_token_id = vocabulary - 1
        bos_token_id = None
        special_token_ids = (eos_token_id,)
        tokens = (*sorted(words), b"<end>")

        def __call__(self, text: bytes | str) -> list[int]:
            raise NotImplementedError("no text is put into tokens here")

    return LLTokenizer(TokenizerWrapper(Words()))
