"""How a measurement tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]  # told how many pieces more are done


class Reporter(Protocol):
    """Told of a measurement's progress while it runs."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Opens a stage of `total` pieces; the measurement calls what the block gives after each piece."""
        ...

    def note(self, text: str) -> None:
        """Tells of a stage that has no pieces."""
        ...


class Silent:
    """A reporter that tells nobody."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda more: None

    def note(self, text: str) -> None:
        pass
