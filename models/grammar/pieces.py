"""Pieces of JSON that a search for the end of a text writes at once: what closes, what must come, what is short.

Whether a piece may come is asked of the matcher, which computes no mask of the vocabulary for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, TypeAlias, TypeVar

from models.grammar.parts import SchemaParts

Tokens: TypeAlias = tuple[int, ...]
T = TypeVar("T")

BYTES = 16_384  # of all pieces of a kind
ODD = b"~#$%&;"  # characters that come only where almost any text may
PROBES = 2  # of them that are tried
FORMED = 160  # bytes of a text that must have some form, at most, whose rests are pieces
DIGITS = 3  # that are tried at the end of a number, at most: as many as its multiples have
CLOSERS = 24  # tokens of each kind that close something, at most


class Taking(Protocol):
    """A place in a text."""

    def takes(self, tokens: Sequence[int]) -> bool:
        """Whether the text may have these tokens next."""


class Closers:
    """The tokens of a vocabulary that close what is open in JSON, those first that close most."""

    def __init__(self, token_bytes: Sequence[bytes], end: int) -> None:
        """`end`: the token that ends a text."""
        numbered = [(token, text) for token, text in enumerate(token_bytes) if text]
        self.brackets = _most_first(each for each in numbered if set(each[1]) <= set(b"}]"))
        self.quotes = _most_first(each for each in numbered if each[1][:1] == b'"' and set(each[1][1:]) <= set(b"}]"))
        self.ends = [end, *(token for token, text in numbered if text in (b"}", b"]", b","))]
        self.odd = [token for token, text in numbered if len(text) == 1 and text in ODD][:PROBES]


def _most_first(numbered: Iterable[tuple[int, bytes]]) -> list[int]:
    ordered = sorted(numbered, key=lambda each: (-len(each[1]), each[1]))
    return [token for token, _ in ordered[-CLOSERS:]]


class Pieces:
    """The pieces of one grammar."""

    def __init__(self, parts: Sequence[SchemaParts], closers: Closers, spelled: Callable[[bytes], Tokens]) -> None:
        """`parts`: of the schemas in the grammar; none: there are no pieces. `spelled`: a text in few tokens."""
        self._closers = closers
        self._spelled = spelled
        self._comma = parts[0].comma if parts else b""
        objects = sorted({members for each in parts for members in each.objects}, key=lambda one: (_size(one), one))
        self._objects = list(_few(objects, _size))
        self._spare = list(_few((text for each in parts for text in each.spare), len))
        self._values = list(_few((text for each in parts for text in each.values), len))
        texts = (text for each in parts for text in each.texts if len(text) <= FORMED)
        rests = {text[start:] for text in _few(texts, len) for start in range(1, len(text) - 1)}
        self._rests = list(_few(sorted(rests, key=lambda rest: (len(rest), rest)), len))
        step = max((each.step for each in parts), default=0)
        digits = min(DIGITS, len(str(step)))
        self._digits = [f"{one:0{size}}".encode() for size in range(1, digits + 1) for one in range(10**size)]
        self._known: dict[bytes, Tokens] = {}  # the tokens of pieces that have been tried
        self._some = bool(parts and closers.odd)

    def next(self, place: Taking) -> Tokens | None:
        """Returns tokens that may come next and lead on to the end; None: no piece fits."""
        if not self._some:
            return None
        closers = self._closers
        rests = map(self._tokens, self._rests)
        if all(place.takes((token,)) for token in closers.odd):  # within a free text, which is left behind the piece
            leaving = ((token,) for token in closers.quotes)
            return _fitting(
                place, (piece for piece in chain(leaving, rests) if not place.takes((*piece, closers.odd[0])))
            )
        lead = self._comma if place.takes(self._tokens(self._comma)) else b""
        return (
            _fitting(place, ((token,) for token in (*closers.brackets, *closers.quotes[:-1])))
            or self._members(place, lead)
            or _fitting(place, rests)
            or _fitting(place, (self._tokens(lead + text) for text in self._spare))
            or self._value(place, lead)
            or _fitting(place, ((token,) for token in closers.quotes[-1:]))
        )

    def _members(self, place: Taking, lead: bytes) -> Tokens | None:
        """Returns the members that an object lacks, with its end; else one of them; None: it lacks none."""
        heads = [
            (members, at)
            for members in self._objects
            for at, member in enumerate(members)
            if place.takes(self._tokens(lead + member))
        ]
        wholes = (self._rest(members, at, lead) for members, at in heads)
        whole = min((rest for rest in wholes if place.takes(rest)), key=len, default=None)
        if whole is None and heads:
            members, at = heads[0]
            return self._tokens(lead + members[at])
        return whole

    def _rest(self, members: Sequence[bytes], start: int, lead: bytes) -> Tokens:
        further = (self._comma + member for member in members[start + 1 :])
        return tuple(chain.from_iterable(map(self._tokens, (lead + members[start], *further, b"}"))))

    def _value(self, place: Taking, lead: bytes) -> Tokens | None:
        """Returns a value, or digits, behind which one is whole."""
        for text in (*self._values, *self._digits):
            value = self._tokens(lead + text)
            if value and place.takes(value) and any(place.takes((*value, end)) for end in self._closers.ends):
                return value
        return None

    def _tokens(self, text: bytes) -> Tokens:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self._spelled(text)
        return known


def _size(texts: Sequence[bytes]) -> int:
    return sum(map(len, texts))


def _few(texts: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Yields texts, the first ones, that are BYTES long in all."""
    left = BYTES
    for text in texts:
        left -= size(text)
        if left < 0:
            return
        yield text


def _fitting(place: Taking, pieces: Iterable[Tokens]) -> Tokens | None:
    return next((piece for piece in pieces if piece and place.takes(piece)), None)
