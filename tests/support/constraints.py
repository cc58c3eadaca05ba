"""Constraints small enough to check by eye, and what float64 says that a sequence under one of them goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.constraint import Constraint
from models.errors import LaserError
from models.token_masks import packed, unpacked
from tests.support.tiny_models import VOCABULARY, Oracle


class ConstraintError(LaserError):
    """The constraint was told of a token that it does not allow."""


@dataclass(slots=True, kw_only=True)
class InTurn:
    """Implements `engine.constraint.Constraint`: a token of the first set, then one of the second, and so on."""

    sets: tuple[frozenset[int], ...]
    again: bool = False  # begins anew behind the last set
    ends: frozenset[int] = frozenset()  # what may come behind the last set
    vocabulary: int = VOCABULARY
    at: int = 0

    @property
    def complete(self) -> bool:
        return not self.again and self.at >= len(self.sets)

    @property
    def allowed(self) -> frozenset[int]:
        return self.ends if self.complete else self.sets[self.at % len(self.sets)]

    def mask(self) -> npt.NDArray[np.uint32]:
        return packed(self.allowed, self.vocabulary)

    def accept(self, token: int) -> None:
        if token not in self.allowed:
            raise ConstraintError(f"token {token} is not allowed, only {sorted(self.allowed)}")
        self.at += 1

    def copy(self) -> InTurn:
        return replace(self)


def in_turn(seed: int, *, sets: int = 3, size: int = 20, vocabulary: int = VOCABULARY, again: bool = True) -> InTurn:
    """Random sets of so many tokens."""
    rng = np.random.default_rng(seed)
    drawn = (frozenset(rng.choice(vocabulary, size, replace=False).tolist()) for _ in range(sets))
    return InTurn(sets=tuple(drawn), again=again, vocabulary=vocabulary)


def allowed_by(constraint: Constraint, vocabulary: int) -> frozenset[int]:
    """The tokens that may come next."""
    return frozenset(np.flatnonzero(unpacked(constraint.mask(), vocabulary)).tolist())


def assert_likeliest(oracle: Oracle, context: Sequence[int], token: int, allowed: frozenset[int]) -> None:
    """`token` is the likeliest of those that are allowed after `context`, but for a tie."""
    assert token in allowed
    logits = oracle.logits(context)[-1]
    gap = max(logits[one] for one in allowed) - logits[token]
    assert gap < oracle.TIE, f"token {token} is {gap:.2g} below the likeliest that is allowed"
