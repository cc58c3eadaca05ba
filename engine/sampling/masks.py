"""Masks of constraints at work: on logits, and computed beside the model's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np

from engine.constraint import Constraint
from engine.sampling.weights import Bools, Floats
from models.errors import LaserError
from models.token_masks import Mask, unpacked

SPARSE = 8  # of so many tokens at most one is allowed: those are then gathered
SMALL = 8192  # tokens of a vocabulary whose masks cost less than a thread that computes them
_NOTHING = nullcontext()


def masked(logits: Floats, allowed: Bools) -> Floats:
    """Returns the logits with −∞ for what is not allowed; of many, without a branch per token."""
    if allowed.shape[-1] <= SMALL:
        return np.where(allowed, logits, np.float32(-np.inf))
    limits = allowed.astype(np.float32)
    limits -= np.float32(0.5)
    limits *= np.float32(np.inf)
    return np.minimum(logits, limits, out=limits)


class MaskedRow(NamedTuple):
    """A row of logits under a mask."""

    allowed: Bools
    scores: Floats | None = None  # the logits, −∞ for what is not allowed; None: they are not computed yet
    best: int | None = None  # the argmax of `scores`; None as they are


class MasksAhead:
    """Asks constraints for the masks of a step on a thread of its own, while the model computes.

    Masks of a small `vocabulary` are computed when they are taken, or for all rows of a step at once.
    """

    def __init__(self, vocabulary: int) -> None:
        self._small = vocabulary <= SMALL
        self._thread: ThreadPoolExecutor | None = None
        self._coming: Future[dict[int, Mask]] | None = None

    def beside(self, constraints: Sequence[Constraint | None]) -> AbstractContextManager[None]:
        """Computes their masks beside the block; when the block ends, none is still computed."""
        self._coming = None
        held = [] if self._small else [constraint for constraint in constraints if constraint is not None]
        return self._computing(held) if held else _NOTHING

    @contextmanager
    def _computing(self, held: Sequence[Constraint]) -> Iterator[None]:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="laser-masks")
        self._coming = coming = self._thread.submit(_masks, held)
        try:
            yield
        finally:
            coming.exception()

    def of(self, constraint: Constraint) -> Mask:
        """Returns the constraint's mask, which is computed now if it is not there. Raises what the constraint does."""
        found = None if self._coming is None else self._coming.result().pop(id(constraint), None)
        return constraint.mask() if found is None else found

    def over(self, constraints: Sequence[Constraint | None], logits: Floats) -> list[MaskedRow | None]:
        """Returns what the masks of a step's rows leave of their `logits` (rows, vocabulary).

        None: no constraint holds the row, or its mask is still to be taken: it fails, or the vocabulary is large.
        """
        held: list[MaskedRow | None] = [None] * len(constraints)
        if not self._small:
            return held
        rows, masks = [], []
        for row, constraint in enumerate(constraints):
            mask = None if constraint is None else _mask(constraint)
            if mask is not None:
                rows.append(row)
                masks.append(mask)
        if rows:
            of_them = logits if len(rows) == len(logits) else logits[rows]
            for row, one in zip(rows, _all_held(masks, of_them), strict=True):
                held[row] = one
        return held


def _all_held(masks: list[Mask], logits: Floats) -> Iterator[MaskedRow]:
    """Yields each row of `logits` (rows, vocabulary) under its mask."""
    if len({mask.size for mask in masks}) == 1:
        allowed = unpacked(np.concatenate(masks).reshape(len(masks), -1), logits.shape[1])
    else:
        allowed = np.array([unpacked(mask, logits.shape[1]) for mask in masks])
    scores = masked(logits, allowed)
    return map(MaskedRow, allowed, scores, scores.argmax(axis=1).tolist())


def _masks(constraints: Sequence[Constraint]) -> dict[int, Mask]:
    found = {id(constraint): _mask(constraint) for constraint in constraints}
    return {key: mask for key, mask in found.items() if mask is not None}


def _mask(constraint: Constraint) -> Mask | None:
    """Returns the constraint's mask; None: it fails, and raises again when its mask is taken."""
    try:
        return constraint.mask()
    except LaserError:
        return None
