"""A prompt that is decoded token by token, so that the engine tells how likely each of its tokens is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.base import Request
from models.token_masks import Mask, packed


class Recital:
    """Implements `engine.constraint.Constraint`: holds a sequence to the given tokens, one after another."""

    def __init__(self, tokens: Sequence[int], at: int = 0) -> None:
        self._tokens = tokens
        self._at = at

    @property
    def complete(self) -> bool:
        return False  # what follows them is free, once the constraint is taken away

    def mask(self) -> Mask:
        token = self._tokens[min(self._at, len(self._tokens) - 1)]
        return packed((token,), token + 1)

    def accept(self, token: int) -> None:
        self._at += 1

    def copy(self) -> Recital:
        return Recital(self._tokens, self._at)


def reciting(asked: Request, following: int) -> Request:
    """Returns a request whose new tokens are those of the prompt but the first, and `following` more.

    A mask wins over bans and its tokens are no stops of the engine's, so the prompt may have any. Stop tokens are
    banned from the one token, at most, that may follow; only what counts the reply's tokens so far would count the
    prompt's, and there are none.
    """
    held = asked.prompt[1:]
    return replace(
        asked,
        prompt=asked.prompt[:1],
        max_new_tokens=len(held) + following,
        sampling=replace(asked.sampling, presence_penalty=0.0, frequency_penalty=0.0),
        stop_tokens=frozenset(),
        banned=asked.banned | asked.stop_tokens,
        constraint=Recital(held) if held else None,
    )
