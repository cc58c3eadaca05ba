"""How a measurement tells its caller how far it is: the protocol, and lines for where no terminal shows bars."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

EVERY_S = 10.0  # s from one line to the next


class Advance(Protocol):
    """Told how many pieces more are done."""

    def __call__(self, more: int, state: str = "", /) -> None:
        """`state`: what else there is to say of the work, such as a loss; "": nothing."""
        ...


class Reporter(Protocol):
    """Told of a measurement's progress while it runs."""

    def stage(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Opens a stage of `total` pieces; the measurement calls what the block gives after each piece.

        The first call may tell of pieces that an earlier run has done: they do not count as speed.
        """
        ...

    def note(self, text: str) -> None:
        """Tells of a stage that has no pieces."""
        ...


class Silent:
    """A reporter that tells nobody."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda more, state="", /: None

    def note(self, text: str) -> None:
        pass


class ProgressLines:
    """A reporter that writes a line every `every_s` seconds, and one at a stage's end.

    A thread of its own writes them, so a line comes also while one piece takes long.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._every_s = every_s
        self._clock = clock

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        ended = threading.Event()
        so_far = _SoFar(label, total, self._clock)

        def tell() -> None:
            while not ended.wait(self._every_s):
                self._write(so_far.line())

        thread = threading.Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield so_far.advance
        finally:
            ended.set()
            thread.join()
        self._write(so_far.end())

    def note(self, text: str) -> None:
        self._write(text)


class _SoFar:
    """How much of a stage is done."""

    def __init__(self, label: str, total: int, clock: Callable[[], float]) -> None:
        self._label = label.strip()
        self._total = total
        self._clock = clock
        self._began = clock()
        self._done = 0
        self._first: tuple[float, int] | None = None  # time and pieces done at the first call; None: no call yet
        self._state = ""

    def advance(self, more: int, state: str = "", /) -> None:
        self._done += more
        self._state = state or self._state
        if self._first is None:
            self._first = self._clock(), self._done

    def line(self) -> str:
        """Returns the pieces that are done, of how many, and the time that the others take at the same speed."""
        now = self._clock()
        since_s, before = self._first or (now, self._done)
        new, left = self._done - before, self._total - self._done
        until = (
            f"about {lasting(left * (now - since_s) / new)} left" if new > 0 else f"{lasting(now - self._began)} so far"
        )
        return ", ".join(each for each in (f"{self._label}: {self._counted}", until, self._state) if each)

    def end(self) -> str:
        if not self._total:
            return f"{self._label}: nothing to do"
        return f"{self._label}: {self._counted}, took {lasting(self._clock() - self._began)}"

    @property
    def _counted(self) -> str:
        return f"{self._done:,} of {self._total:,} done"


def lasting(seconds: float) -> str:
    """Returns a time in words, of two units at most: 40 s, 4 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
