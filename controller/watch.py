"""What the serving loop tells whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Hears of arrivals, ends and steps, on the engine's thread: each call must return in microseconds."""

    def arrived(self, difficulty: str | None) -> None:
        """A request of this class has been queued (None: unknown)."""

    def finished(self, difficulty: str | None, tokens: int) -> None:
        """A request that was left to the policy has ended; `tokens` rows were decoded for it, probes included."""

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        """A step that only decoded: `batch` sequences of `context` cached tokens on average, one token each."""

    def tick(self, now: float, in_system: int) -> None:
        """Time passes, s on the loop's clock, with so many requests queued or running; also while nothing runs."""


class NumberWatcher:
    """A Watcher to whom only the number in the system counts: what it hears between two ticks is nothing to it."""

    def arrived(self, difficulty: str | None) -> None:
        pass

    def finished(self, difficulty: str | None, tokens: int) -> None:
        pass

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        pass
