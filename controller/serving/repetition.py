"""Thoughts that go round in circles: a block of tokens, repeated word for word at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDetection:
    """When a thought counts as going round in circles."""

    times: int = 4  # that the block stands at the end, one after the other …
    least: int = 192  # … in so many tokens altogether, so that a list of zeros is no loop
    window: int = 1024  # tokens that are looked at; a block is at most window / times long
    every: int = 32  # tokens between two looks

    def __post_init__(self) -> None:
        for name, least in (("times", 2), ("least", 2), ("every", 1), ("window", self.least)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least {least}")

    def due(self, tokens: int) -> bool:
        """Whether a thought of this length is to be looked at."""
        return tokens >= self.least and tokens % self.every == 0

    def found(self, thought: Sequence[int]) -> bool:
        """Whether the thought's end is a loop; in time linear in the window.

        The border table of Knuth, Morris and Pratt, over the end read backwards: its first n tokens have period
        n − border[n], and repeat a block `times` times if that goes into n so often.
        """
        end = thought[-self.window :][::-1]
        border = [0] * (len(end) + 1)
        k = 0
        for i in range(1, len(end)):
            while k and end[i] != end[k]:
                k = border[k]
            k += end[i] == end[k]
            border[i + 1] = k
            n = i + 1
            if n >= self.least and (n - k) * self.times <= n:
                return True
        return False
