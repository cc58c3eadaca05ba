"""How a measurement tells its caller how far it is: the protocol, the time left, lines where no terminal shows bars."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

EVERY_S = 10.0  # s from one line to the next
FEWEST = 3  # pieces done in this run, from which on the time left is told


class Advance(Protocol):
    """Told how many pieces more are done."""

    def __call__(self, more: int, state: str = "", /) -> None:
        """`state`: what else there is to say of the work, such as a loss; "": nothing."""
        ...


class Reporter(Protocol):
    """Told of a measurement's progress while it runs."""

    def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> AbstractContextManager[Advance]:
        """Opens a stage of `total` pieces; the measurement calls what the block gives after each piece of this run.

        `done`: pieces of earlier runs, which tell no speed. `at_once`: pieces that are worked on together.
        """
        ...

    def note(self, text: str) -> None:
        """Tells of a stage that has no pieces."""
        ...


class Silent:
    """A reporter that tells nobody."""

    @contextmanager
    def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> Iterator[Advance]:
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
    def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> Iterator[Advance]:
        ended = threading.Event()
        so_far = SoFar(total, done=done, at_once=at_once, clock=self._clock)
        label = label.strip()

        def line() -> str:
            until = so_far.left or f"{lasting(so_far.took_s)} so far"
            return ", ".join(each for each in (f"{label}: {so_far.counted}", until, so_far.state) if each)

        def tell() -> None:
            while not ended.wait(self._every_s):
                self._write(line())

        thread = threading.Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield so_far.advance
        finally:
            ended.set()
            thread.join()
        took = f"{so_far.counted}, took {lasting(so_far.took_s)}" if total else "nothing to do"
        self._write(f"{label}: {took}")

    def note(self, text: str) -> None:
        self._write(text)


class SoFar:
    """How much of a stage is done, and how long the rest takes at the speed of this run."""

    def __init__(
        self, total: int, *, done: int = 0, at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The arguments are those of `Reporter.stage`."""
        self._total = total
        self._before = self._done = done
        # The first of those that are worked on together end early or late: their speed is known once all may have ended
        self._enough = min(max(FEWEST, at_once), max(FEWEST, (total - done) // 2))
        self._clock = clock
        self._began = clock()
        self.state = ""

    def advance(self, more: int, state: str = "", /) -> None:
        self._done += more
        self.state = state or self.state

    @property
    def took_s(self) -> float:
        """Seconds of this run."""
        return self._clock() - self._began

    @property
    def left(self) -> str:
        """The time that the rest takes, in words; empty: too little is done in this run to know, or nothing is left."""
        new, left = self._done - self._before, self._total - self._done
        return f"about {lasting(left * self.took_s / new)} left" if left > 0 and new >= self._enough else ""

    @property
    def counted(self) -> str:
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
