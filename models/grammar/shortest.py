"""Finds short ways to the end of a text: bounded searches over the states of a matcher.

A quick one closes whatever is open as soon as the grammar lets it; a thorough one tries what else there is, by length.
Of the tokens that a state allows the thorough one looks at all if they are few, else at those that close something, at
single characters, and at the longest ones; at blanks only if there is nothing else. Where the grammar leaves no choice
both go on to the next choice at once. States of one length that allow the same tokens are taken as one, except that the
first and the one with the most bytes are both kept: texts that must have a certain length get on by long tokens.

What a search costs is counted in looks: states whose allowed tokens are computed, over the whole vocabulary. To try
TRIES pieces of text that are known beforehand costs as much; one of many tokens counts as several. Who searches says
how many looks there may be; a search that needs more has found nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.token_masks import Mask, count, packed, unpacked

FEW = 8  # allowed tokens that are all looked at
CLOSING = frozenset(b'"}],')
FREE = 64  # allowed tokens from which on a state is one of free text, which only a quotation mark closes
QUICK, TURNS = 512, 8  # choices that a quick search makes, and other turns that it looks for
TRIES = 256  # pieces that are tried for the price of a look
TRY = 8  # tokens of a piece, beyond which it counts as several
PATIENCE = 4  # times that the same tokens are allowed before another turn is looked for
LONG = 16  # bytes of a token that closes something, at most


@dataclass(frozen=True, slots=True)
class Breadth:
    """How much a search looks at."""

    closers: int  # tokens that close something, of one state
    characters: int  # tokens of one character, of one state
    longest: int  # the longest tokens, of one state
    states: int  # of one length
    looks: int  # states in all


NARROW = Breadth(closers=2, characters=3, longest=1, states=4, looks=500)
WIDE = Breadth(closers=4, characters=96, longest=2, states=16, looks=2_000)


class NoLooks(Exception):
    """A search may look at no more states. No search lets it out."""


class Looks:
    """How many states searches may still look at."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._tries = 0

    def take(self) -> None:
        """Counts one. Raises NoLooks if there is none left."""
        if self.left <= 0:
            raise NoLooks
        self.left -= 1

    def try_piece(self, size: int) -> None:
        """Counts a piece of which `size` tokens fit; TRIES short ones are a look. Raises NoLooks if none is left."""
        self._tries += 1 + size // TRY
        while self._tries >= TRIES:
            self._tries -= TRIES
            self.take()


class State(Protocol):
    """A place in a text that a grammar holds."""

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""

    def allowed(self) -> Mask:
        """The tokens that may come next, packed as in a mask, without those that end the text.

        The first call is a look. Raises NoLooks if there is none left.
        """

    def forced(self) -> Sequence[int]:
        """The tokens that come next in any text, as far as that is known."""

    def piece(self) -> Sequence[int]:
        """Tokens that may come next and lead on to the end; none: none are known. Raises NoLooks."""

    def behind(self, *tokens: int) -> State:
        """Returns the place behind tokens that are allowed."""


class Signposts:
    """Which tokens of a vocabulary a search looks at first."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        size = len(token_bytes)
        self._sizes = np.array([len(each) for each in token_bytes])
        numbered = [(token, text) for token, text in enumerate(token_bytes) if text.strip()]
        self._said = packed((token for token, _ in numbered), size)
        closers = [(token, text) for token, text in numbered if len(text) <= LONG and set(text) <= CLOSING]
        closers.sort(key=lambda each: (-sum(byte in b"}]" for byte in each[1]), b'"' in each[1], len(each[1])))
        self._closers = np.array([token for token, _ in closers], dtype=np.intp)
        self._quotes = np.array([token for token, text in closers if b'"' in text], dtype=np.intp)
        self._characters = np.array(
            [token for token, text in numbered if len(text) == 1 and text.isascii()], dtype=np.intp
        )
        plain: dict[int, list[int]] = {}
        for token, text in numbered:
            if text.isalnum() and text.isascii():
                plain.setdefault(len(text), []).append(token)
        self._longest_word = token_bytes[plain[max(plain)][0]] if plain else b"a"
        self._by_length = [packed(plain[length], size) for length in sorted(plain, reverse=True)]

    def next(self, mask: Mask, breadth: Breadth) -> list[int]:
        """Returns the allowed tokens to look at, the most promising first."""
        said = mask & self._said
        mask = said if said.any() else mask
        if count(mask) <= FEW:
            return self._first(mask, FEW)
        found = self._hits(self._closers, mask)[: breadth.closers]
        found += self._hits(self._characters, mask)[: breadth.characters]
        found += self._longest(mask, breadth.longest)
        return list(dict.fromkeys(found)) or self._first(mask, FEW)

    def characters(self, mask: Mask) -> list[int]:
        """Returns the allowed tokens of one byte."""
        return self._hits(self._characters, mask)

    def closing(self, mask: Mask) -> int | None:
        """Returns the allowed token that closes the most, else the longest word or number, else any; None: none is."""
        hits = self._hits(self._quotes if count(mask) > FREE else self._closers, mask)
        hits = hits or self._longest(mask, 1) or self.characters(mask) or self._first(mask, 1)
        return hits[0] if hits else None

    def size(self, token: int) -> int:
        """The bytes of a token."""
        return int(self._sizes[token])

    def words(self, length: int) -> bytes:
        """Returns letters or digits, `length` of them, in few tokens."""
        longest = self._longest_word
        return longest * (length // len(longest)) + longest[: length % len(longest)]

    def _first(self, mask: Mask, most: int) -> list[int]:
        return [int(token) for token in np.flatnonzero(unpacked(mask, self._sizes.size))[:most]]

    @staticmethod
    def _hits(order: npt.NDArray[np.intp], mask: Mask) -> list[int]:
        """Returns those tokens of `order` that a mask allows."""
        allowed = mask[order >> 5] >> (order & 31).astype(np.uint32) & 1
        found: list[int] = order[allowed != 0].tolist()
        return found

    def _longest(self, mask: Mask, most: int) -> list[int]:
        """Returns the longest allowed words and numbers."""
        found: list[int] = []
        for alike in self._by_length:
            hits = mask & alike
            if hits.any():
                found += self._first(hits, most - len(found))
            if len(found) >= most:
                break
        return found


@dataclass(frozen=True, slots=True)
class _Way:
    state: State
    tokens: tuple[int, ...]
    size: int  # bytes


def shortest_way(start: State, signposts: Signposts, most: int) -> tuple[int, ...] | None:
    """Returns the fewest tokens, at most `most`, behind which the text may end; None: the search found none.

    They are () if it may end at the start.
    """
    quick = None
    with suppress(NoLooks):
        quick, nowhere = _quick(start, signposts, most)
        shorter = _search(start, signposts, most if quick is None else len(quick) - 1, NARROW)
        if shorter is None and quick is None and nowhere:
            return _search(start, signposts, most, WIDE)
        return quick if shorter is None else shorter
    return quick


def quick_way(start: State, signposts: Signposts, most: int) -> tuple[int, ...] | None:
    """Returns some tokens, at most `most`, behind which the text may end, few in most texts; None: it found none."""
    with suppress(NoLooks):
        return _quick(start, signposts, most)[0]
    return None


def some_way(start: State, signposts: Signposts, most: int) -> tuple[int, ...] | None:
    """Returns what `quick_way` does, or what a narrow search finds where that finds nothing."""
    with suppress(NoLooks):
        quick = _quick(start, signposts, most)[0]
        return _search(start, signposts, most, NARROW) if quick is None else quick
    return None


def _quick(start: State, signposts: Signposts, most: int) -> tuple[tuple[int, ...] | None, bool]:
    """Returns a way that closes whatever is open, and whether the search has led nowhere, rather than too far."""
    way = _Way(start, (), 0)
    met: Counter[bytes] = Counter()  # what was allowed, and how often
    turns = 0
    for _ in range(QUICK):
        if len(way.tokens) > most:
            return None, False
        if way.state.whole:
            return way.tokens, True
        piece = way.state.piece()
        if piece:
            way = _onward(way, piece, signposts)
            continue
        allowed = way.state.allowed()
        met[allowed.tobytes()] += 1
        turn = None
        if met[allowed.tobytes()] % PATIENCE == 0 and turns < TURNS:
            turns, turn = turns + 1, _turn(way.state, signposts)
        token = signposts.closing(allowed) if turn is None else turn
        if token is None:
            return None, True
        way = _onward(way, [token], signposts)
    return None, len(met) < TURNS


def _turn(state: State, signposts: Signposts) -> int | None:
    """Returns a character behind which the least is allowed, and not the same as before; None: there is none.

    It leads on where a text could repeat itself for ever: the @ of a mail address.
    """
    here = state.allowed().tobytes()
    found = [
        (count(behind), token)
        for token in signposts.characters(state.allowed())
        if (behind := state.behind(token).allowed()).tobytes() != here
    ]
    return min(found)[1] if found else None


def _search(start: State, signposts: Signposts, most: int, breadth: Breadth) -> tuple[int, ...] | None:
    waiting: dict[int, dict[bytes, list[_Way]]] = {0: {b"": [_Way(start, (), 0)]}}  # by length, then by what is allowed
    looks = 0
    for length in range(most + 1):
        alike = waiting.pop(length, {})
        ways = [way for found in alike.values() for way in found]
        for way in ways:
            if way.state.whole:
                return way.tokens
        if not ways and not waiting:
            return None
        for way in ways[: breadth.states]:
            for token in signposts.next(way.state.allowed(), breadth):
                looks += 1
                if looks > breadth.looks:
                    return None
                _note(waiting, _onward(way, [token], signposts))
    return None


def _onward(way: _Way, next_: Sequence[int], signposts: Signposts) -> _Way:
    """Returns the way on behind the next tokens, up to the next choice."""
    state, tokens = way.state.behind(*next_), list(next_)
    forced = [] if state.whole else state.forced()
    if forced:
        state = state.behind(*forced)
        tokens += forced
    return _Way(state, (*way.tokens, *tokens), way.size + sum(map(signposts.size, tokens)))


def _note(waiting: dict[int, dict[bytes, list[_Way]]], new: _Way) -> None:
    """Keeps a way for later, unless ways of its length that allow the same tokens are as good."""
    alike = waiting.setdefault(len(new.tokens), {}).setdefault(new.state.allowed().tobytes(), [])
    if not alike or (len(alike) == 1 and new.size > alike[0].size):
        alike.append(new)
    elif new.size > alike[-1].size:
        alike[-1] = new


def longest_way(start: State, alphabet: Sequence[int], most: int) -> int | None:
    """Returns how many tokens of `alphabet`, single characters, the longest text has; None: it may have over `most`.

    States that allow the same tokens are taken as one, so the length is an estimate.
    """
    with suppress(NoLooks):
        return _longest(start, np.array(alphabet, dtype=np.intp), most)
    return None


def _longest(start: State, letters: npt.NDArray[np.intp], most: int) -> int | None:
    level, length = [start], 0
    while level:
        if length > most:
            return None
        found: dict[bytes, State] = {}
        for state in level:
            bits = unpacked(state.allowed(), 32 * state.allowed().size)
            few = np.flatnonzero(bits)
            for token in (few if few.size <= FEW else letters[bits[letters]]).tolist():
                behind = state.behind(token)
                found.setdefault(behind.allowed().tobytes(), behind)
        level, length = list(found.values()), length + 1
    return length - 1
