"""A model's vocabulary as grammars know it: the bytes of its tokens, those that end a reply, and masks of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from models.grammar.grammar import GrammarError
from models.grammar.pieces import Closers
from models.grammar.shortest import Signposts
from models.token_masks import Mask, packed, unpacked
from models.tokenizer import ChatTokenizer

MOST_BYTES = 24  # of a token, where the fewest are looked for
SHORT = 2_048  # bytes of a text whose fewest tokens are looked for
FAR = 1 << 30  # tokens of a text that none spell


class GrammarVocabulary:
    """A model's vocabulary as grammars know it: tokens are bytes, and control tokens are none."""

    def __init__(self, tokenizer: ChatTokenizer, ends: AbstractSet[int], rows: int | None = None) -> None:
        """`ends`: the tokens that end a reply. `rows`: tokens that the model has a row for; None: the tokenizer's."""
        known = tokenizer.token_bytes
        self.size = len(known) if rows is None else rows
        self.tokens = [*known[: self.size], *[b""] * (self.size - len(known))]
        self.ends = frozenset(token for token in ends if token < self.size)
        if not self.ends:
            raise GrammarError("", "the model has no token that ends a reply, so no answer can be held to a grammar")
        for token in self.ends:
            self.tokens[token] = b""
        self._by_bytes = {text: token for token, text in reversed(list(enumerate(self.tokens))) if text}
        self._longest = max(map(len, self._by_bytes), default=1)
        self._tokenizer = tokenizer
        self.end_bits = self.packed(self.ends)
        self.end = min(self.ends)
        self._lock = threading.Lock()

    def packed(self, tokens: Iterable[int]) -> Mask:
        """The mask that allows some tokens."""
        return packed(tokens, self.size)

    def only(self, token: int) -> Mask:
        """The mask that allows one token."""
        return self.packed((token,))

    def tokens_of(self, mask: Mask) -> list[int]:
        """The tokens that a mask allows."""
        return np.flatnonzero(unpacked(mask, self.size)).tolist()

    @cached_property
    def plain_bits(self) -> Mask:
        """The tokens of letters, digits and blanks of ASCII, which open and close nothing in any usual form."""
        return self.packed(
            token for token, text in enumerate(self.tokens) if text.isascii() and text.replace(b" ", b"a").isalnum()
        )

    def mask(self, matcher: LLMatcher) -> Mask:
        """The tokens that a matcher allows next. Raises GrammarError if it cannot tell."""
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint32, self.end_bits.size)
        if matcher.is_error():
            raise GrammarError("", f"the answer's grammar is too complex: {in_one_line(matcher.get_error())}")
        return bits

    def spelled(self, text: bytes) -> list[int]:
        """Returns a text as the model's tokenizer splits it, else by the longest tokens that it begins with."""
        usual = self._tokenizer.encode(text.decode(errors="replace"))
        if all(token < self.size for token in usual) and b"".join(self.tokens[token] for token in usual) == text:
            return usual
        found, at = [], 0
        while at < len(text):
            ends = range(min(len(text), at + self._longest), at, -1)
            token = next((self._by_bytes[text[at:end]] for end in ends if text[at:end] in self._by_bytes), None)
            if token is None:
                break
            found.append(token)
            at += len(self.tokens[token])
        return found

    def fewest(self, text: bytes) -> tuple[int, ...]:
        """Returns few tokens that spell a text; of a short one the fewest, of up to MOST_BYTES each; () if none do."""
        if len(text) > SHORT:
            return tuple(self.spelled(text))
        known, longest = self._by_bytes, min(self._longest, MOST_BYTES)
        steps: list[tuple[int, int, int]] = [(0, 0, 0)]  # for each start of the text: tokens, the last one, its start
        for end in range(1, len(text) + 1):
            starts = range(max(0, end - longest), end)
            found = ((steps[at][0] + 1, token, at) for at in starts if (token := known.get(text[at:end])) is not None)
            steps.append(min(found, default=(FAR, 0, end)))
        if steps[-1][0] >= FAR:
            return ()
        tokens, end = list[int](), len(text)
        while end:
            _, token, end = steps[end]
            tokens.append(token)
        return tuple(reversed(tokens))

    @property
    def llguidance(self) -> LLTokenizer:
        """The vocabulary as llguidance takes it; made when it is first needed, which takes a second for large ones."""
        with self._lock:
            return self._made

    @cached_property
    def _made(self) -> LLTokenizer:
        wrapped: Any = _Wrapped(self)
        return LLTokenizer(wrapped, eos_token=sorted(self.ends))

    @cached_property
    def signposts(self) -> Signposts:
        """Where searches look first."""
        return Signposts(self.tokens)

    @cached_property
    def closers(self) -> Closers:
        """The tokens that close what is open in JSON."""
        return Closers(self.tokens, self.end)

    @cached_property
    def letters(self) -> tuple[int, ...]:
        """The tokens of one byte."""
        return tuple(token for token, text in enumerate(self.tokens) if len(text) == 1)

    @cached_property
    def letter_bits(self) -> Mask:
        """The tokens of one byte, as a mask."""
        return self.packed(self.letters)

    def warm_up(self) -> None:
        """Makes what all grammars need."""
        _ = self.llguidance, self.signposts, self.closers, self.plain_bits, self.letter_bits

    def count(self, text: str) -> int:
        """The number of tokens of a text."""
        return len(self._tokenizer.encode(text))


class _Wrapped:
    """A vocabulary in the shape of llguidance's TokenizerWrapper."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self.eos_token_id = min(vocabulary.ends)
        self.special_token_ids = (self.eos_token_id,)  # one with a name, or llguidance panics where a grammar names any
        self.tokens = list(vocabulary.tokens)
        self.tokens[self.eos_token_id] = b"<end>"
        self._spelled = vocabulary.spelled

    def __call__(self, text: str | bytes) -> list[int]:
        return self._spelled(text.encode() if isinstance(text, str) else text)


def in_one_line(text: str) -> str:
    """Returns a message of llguidance's, which may have several lines, as one."""
    return " ".join(text.partition("<backtrace>")[0].split())
