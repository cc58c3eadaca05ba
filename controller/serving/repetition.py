"""Detects loops in thoughts: a block of tokens repeated exactly at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDetection:
    """When a thought counts as a loop."""

    times: int = 4  # consecutive occurrences of the block at the end …
    least: int = 192  # … that are at least this many tokens long together, so that a list of zeros is no loop
    window: int = 1024  # last tokens that are searched; a block is at most window / times long
    every: int = 32  # tokens between two searches

    def __post_init__(self) -> None:
        for name, least in (("times", 2), ("least", 2), ("every", 1), ("window", self.least)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least {least}")

    def due(self, tokens: int) -> bool:
        """Whether a thought of `tokens` tokens is to be searched now."""
        return tokens >= self.least and tokens % self.every == 0

    def found(self, thought: Sequence[int]) -> bool:
        """Whether the thought's end is a loop; takes time linear in the window.

        Computes the border table of Knuth, Morris and Pratt over the end read backwards: its first n tokens have period
        n − border[n], and repeat a block `times` times if the period fits into n at least `times` times.
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
