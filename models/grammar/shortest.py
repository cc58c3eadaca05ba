"""Finds short ways to the end of a text: bounded searches over the states of a matcher.

A quick one closes whatever is open as soon as the grammar lets it; a thorough one tries what else there is, by length.
Of the tokens that a state allows the thorough one looks at all if they are few, else at those that close something, at
single characters, and at the longest ones; at blanks only if there is nothing else. Where the grammar leaves no choice
both go on to the next choice at once. States of one length that allow the same tokens are taken as one, except that the
first and the one with the most bytes are both kept: texts that must have a certain length get on by long tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.token_masks import Mask, unpacked

FEW = 8  # allowed tokens that are all looked at
CLOSING = frozenset(b'"}],')
FREE = 64  # allowed tokens from which on a state is one of free text, which only a quotation mark closes
QUICK, TURNS = 512, 8  # choices that a quick search makes, and other turns that it looks for
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


class State(Protocol):
    """A place in a text that a grammar holds."""

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""

    def allowed(self) -> Mask:
        """The tokens that may come next, packed as in a mask, without those that end the text."""

    def forced(self) -> Sequence[int]:
        """The tokens that come next in any text, as far as that is known."""

    def behind(self, *tokens: int) -> State:
        """Returns the place behind tokens that are allowed."""


class Signposts:
    """Which tokens of a vocabulary a search looks at first."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._sizes = np.array([len(each) for each in token_bytes])
        self._blank = np.array([not each.strip() for each in token_bytes])
        numbered = [(token, text) for token, text in enumerate(token_bytes) if text.strip()]
        closers = [(token, text) for token, text in numbered if len(text) <= LONG and set(text) <= CLOSING]
        closers.sort(key=lambda each: (-sum(byte in b"}]" for byte in each[1]), b'"' in each[1], len(each[1])))
        plain = [(token, text) for token, text in numbered if text.isalnum() and text.isascii()]
        plain.sort(key=lambda each: -len(each[1]))
        self._closers = np.array([token for token, _ in closers], dtype=np.intp)
        self._quotes = np.array([token for token, text in closers if b'"' in text], dtype=np.intp)
        self._characters = np.array(
            [token for token, text in numbered if len(text) == 1 and text.isascii()], dtype=np.intp
        )
        self._longest = np.array([token for token, _ in plain], dtype=np.intp)

    def next(self, mask: Mask, breadth: Breadth) -> list[int]:
        """Returns the allowed tokens to look at, the most promising first."""
        bits = unpacked(mask, self._blank.size)
        said = bits & ~self._blank
        bits = said if said.any() else bits
        if bits.sum() <= FEW:
            return np.flatnonzero(bits).tolist()
        found: dict[int, None] = {}
        for most, order in (
            (breadth.closers, self._closers),
            (breadth.characters, self._characters),
            (breadth.longest, self._longest),
        ):
            found.update(dict.fromkeys(order[bits[order]][:most].tolist()))
        return list(found) or np.flatnonzero(bits)[:FEW].tolist()

    def characters(self, mask: Mask) -> list[int]:
        """Returns the allowed tokens of one byte."""
        bits = unpacked(mask, self._blank.size)
        found: list[int] = self._characters[bits[self._characters]].tolist()
        return found

    def closing(self, mask: Mask) -> int | None:
        """Returns the allowed token that closes the most, else the longest word or number, else any; None: none is."""
        bits = unpacked(mask, self._blank.size)
        closers = self._quotes if bits.sum() > FREE else self._closers
        for order in (closers, self._longest, self._characters):
            hits = order[bits[order]]
            if hits.size:
                return int(hits[0])
        left = np.flatnonzero(bits)
        return int(left[0]) if left.size else None

    def size(self, token: int) -> int:
        """The bytes of a token."""
        return int(self._sizes[token])


@dataclass(frozen=True, slots=True)
class _Way:
    state: State
    tokens: tuple[int, ...]
    size: int  # bytes


def shortest_way(start: State, signposts: Signposts, most: int) -> tuple[int, ...] | None:
    """Returns the fewest tokens, at most `most`, behind which the text may end; None: the search found none.

    They are () if it may end at the start.
    """
    quick, nowhere = _quick(start, signposts, most)
    shorter = _search(start, signposts, most if quick is None else len(quick) - 1, NARROW)
    if shorter is None and quick is None and nowhere:
        return _search(start, signposts, most, WIDE)
    return quick if shorter is None else shorter


def quick_way(start: State, signposts: Signposts, most: int) -> tuple[int, ...] | None:
    """Returns some tokens, at most `most`, behind which the text may end, few in most texts; None: it found none."""
    return _quick(start, signposts, most)[0]


def _quick(start: State, signposts: Signposts, most: int) -> tuple[tuple[int, ...] | None, bool]:
    """Returns what `quick_way` does, and whether the search has led nowhere, rather than too far."""
    way = _Way(start, (), 0)
    met: Counter[bytes] = Counter()  # what was allowed, and how often
    turns = 0
    for _ in range(QUICK):
        if len(way.tokens) > most:
            return None, False
        if way.state.whole:
            return way.tokens, True
        allowed = way.state.allowed()
        met[allowed.tobytes()] += 1
        turn = None
        if met[allowed.tobytes()] % PATIENCE == 0 and turns < TURNS:
            turns, turn = turns + 1, _turn(way.state, signposts)
        token = signposts.closing(allowed) if turn is None else turn
        if token is None:
            return None, True
        way = _onward(way, token, signposts)
    return None, len(met) < TURNS


def _turn(state: State, signposts: Signposts) -> int | None:
    """Returns a character behind which the least is allowed, and not the same as before; None: there is none.

    It leads on where a text could repeat itself for ever: the @ of a mail address.
    """
    here = state.allowed().tobytes()
    found = [
        (int(np.unpackbits(behind.view(np.uint8)).sum()), token)
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
                _note(waiting, _onward(way, token, signposts))
    return None


def _onward(way: _Way, token: int, signposts: Signposts) -> _Way:
    """Returns the way on behind a token, up to the next choice."""
    state, tokens = way.state.behind(token), [token]
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
    letters = np.array(alphabet, dtype=np.intp)
    level, length, looks = [start], 0, 0
    while level:
        if length > most:
            return None
        found: dict[bytes, State] = {}
        for state in level:
            bits = np.unpackbits(state.allowed().view(np.uint8), bitorder="little")
            few = np.flatnonzero(bits)
            for token in (few if few.size <= FEW else letters[bits[letters] != 0]).tolist():
                looks += 1
                if looks > WIDE.looks:
                    return None
                behind = state.behind(token)
                found.setdefault(behind.allowed().tobytes(), behind)
        level, length = list(found.values()), length + 1
    return length - 1
