"""Masks of constraints at work: on logits, and computed beside the model's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from engine.constraint import Constraint
from engine.sampling.weights import Bools, Floats
from models.errors import LaserError
from models.token_masks import Mask

SPARSE = 8  # of so many tokens at most one is allowed: those are then gathered
SMALL = 8192  # tokens of a vocabulary whose masks cost less than a thread that computes them


def masked(logits: Floats, allowed: Bools) -> Floats:
    """Returns the logits with −∞ for what is not allowed; of many, without a branch per token."""
    if allowed.size <= SMALL:
        return np.where(allowed, logits, np.float32(-np.inf))
    limits = allowed.astype(np.float32)
    limits -= np.float32(0.5)
    limits *= np.float32(np.inf)
    return np.minimum(logits, limits, out=limits)


class MasksAhead:
    """Asks constraints for the masks of a step on a thread of its own, while the model computes.

    Masks of a small `vocabulary` are computed when they are taken.
    """

    def __init__(self, vocabulary: int) -> None:
        self._small = vocabulary <= SMALL
        self._thread: ThreadPoolExecutor | None = None
        self._coming: Future[dict[int, Mask]] | None = None

    @contextmanager
    def beside(self, constraints: Sequence[Constraint]) -> Iterator[None]:
        """Computes their masks beside the block; when the block ends, none is still computed."""
        self._coming = None
        if constraints and not self._small:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="laser-masks")
            self._coming = self._thread.submit(_masks, constraints)
        try:
            yield
        finally:
            if self._coming is not None:
                self._coming.exception()

    def of(self, constraint: Constraint) -> Mask:
        """Returns the constraint's mask, which is computed now if it is not there. Raises what the constraint does."""
        found = None if self._coming is None else self._coming.result().pop(id(constraint), None)
        return constraint.mask() if found is None else found


def _masks(constraints: Sequence[Constraint]) -> dict[int, Mask]:
    found = {}
    for constraint in constraints:
        try:
            found[id(constraint)] = constraint.mask()
        except LaserError:  # it raises again when its mask is taken
            continue
    return found
