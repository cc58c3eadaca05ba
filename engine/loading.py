"""How far a model's weights are loaded, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path


def _nobody(share: float) -> None:
    """Takes word of a share that nobody asked for."""


_TAKES: ContextVar[Callable[[float], None]] = ContextVar("loaded", default=_nobody)


@contextmanager
def watched(take: Callable[[float], None]) -> Iterator[None]:
    """Calls `take` with the share of the weights that is loaded, in 0…1, as the block loads them."""
    token = _TAKES.set(take)
    try:
        yield
    finally:
        _TAKES.reset(token)


def loaded(share: float) -> None:
    """Tells that this share of the weights is loaded."""
    _TAKES.get()(share)


def in_turn(files: Sequence[Path]) -> Iterator[Path]:
    """Yields files of weights, and tells after each which share of their bytes is loaded."""
    sizes = [file.stat().st_size for file in files]
    whole, done = max(1, sum(sizes)), 0
    for file, size in zip(files, sizes, strict=True):
        yield file
        done += size
        loaded(done / whole)
