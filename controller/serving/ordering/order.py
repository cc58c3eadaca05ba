"""The place of a request in the queue: one knob between first come, first served and shortest first. Pure.

A request that came at a and needs r more token rows has its place at

    p = a + H·φ(r)        φ(r) = r² / (r² + m²), between 0 and 1

with H the head start in seconds and m the rows of a usual request. The smallest p is served first. H = 0 is first
come, first served; H = ∞ orders by r alone. In between, a short request has a head start of up to H on a long one; φ is
steepest around m, so that usual requests differ by much of H and the bound is tight for what it gains.

The bound: j goes before i only if a_j + H·φ(r_j) < a_i + H·φ(r_i), hence a_j < a_i + H. So no request is overtaken by
one that came more than H after it, whatever was predicted of either, right or wrong, and even if r is predicted anew
while i waits. On a server that is never idle while requests wait, i thus begins at most by the work that came within H
after it later than it would first come, first served.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import LaserError
from models.files.checks import positive


class OrderError(LaserError, ValueError):
    """An order that cannot be; the message names the setting, its value and its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order of requests. At its defaults they are served as they come."""

    head_start_s: float = 0.0  # H; 0: first come, first served; infinite: shortest first
    usual_rows: float = 1.0  # m

    def __post_init__(self) -> None:
        if not self.head_start_s >= 0.0:
            raise OrderError(f"head_start_s is {self.head_start_s}, must be at least 0")
        positive(self, "usual_rows")

    def place(self, came_s: float, rows: float) -> float:
        """Returns p of a request that came at `came_s` and needs about `rows` more token rows, at least 0.

        Places compare with those of the same order alone.
        """
        if math.isinf(self.head_start_s):
            return rows
        share = rows / self.usual_rows
        return came_s + self.head_start_s * (1.0 - 1.0 / (1.0 + share * share))
