"""A simulated machine: how long its forward passes take, and how many tokens it holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.files.checks import at_least
from models.profile.plant import StepTime
from models.profile.profile import Profile

CELLS = 65_536


class SkippingClock(Protocol):
    """A clock in seconds that can be moved on while there is nothing to do."""

    alarm: float  # time of the next event from outside

    def __call__(self) -> float:
        """The current time, s."""

    def skip(self, until: float) -> None:
        """Set the clock to `until`, unless it is already later."""


@dataclass(slots=True, kw_only=True)
class VirtualClock:
    """A clock in seconds that only a simulation moves on."""

    now: float = 0.0
    alarm: float = math.inf

    def __call__(self) -> float:
        return self.now

    def skip(self, until: float) -> None:
        self.now = max(self.now, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A pass takes a + (c + g·context)·sequences seconds, plus the time of its prefill, forced tokens and probes."""

    step_time: StepTime
    max_batch: int  # sequences decoded at once; more wait
    probe_row_s: float = 0.0  # s per row of a probe
    prefill_s: float = 0.0  # s per prompt or forced token
    prefill_chunk: int = 256  # prompt tokens per pass
    cells: int = CELLS  # tokens of KV cache, shared by all sequences
    growing: bool = False  # sequences take cells as they grow; else, from their start, all that they may need

    def __post_init__(self) -> None:
        at_least(self, 1, "max_batch", "prefill_chunk", "cells")
        for name in ("probe_row_s", "prefill_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value} s, must be finite and at least 0")


def profiled_machine(profile: Profile, *, prefill_s: float | None = None, cells: int = CELLS) -> Machine:
    """Returns the machine that a profile was measured on.

    A probe's row costs the measured mean. The profile does not hold the cost of a prompt token: `prefill_s` gives it,
    None: it costs as much as a probe's row.
    """
    probe = profile.probe
    row = probe.seconds / probe.rows if probe.rows > 0.0 else 0.0
    return Machine(
        step_time=profile.plant.step_time,
        max_batch=profile.plant.max_batch,
        probe_row_s=max(0.0, row),
        prefill_s=max(0.0, row) if prefill_s is None else prefill_s,
        cells=cells,
    )


def passes_within(seconds: float, first: float, growth: float) -> int:
    """The smallest number of passes, at least 1, that together take at least `seconds`.

    The first pass takes `first` seconds, each later pass `growth` more than the one before: k passes take
    k·first + growth·k(k−1)/2.
    """
    if growth == 0.0:
        return max(1, math.ceil(seconds / first))
    half = growth / 2.0
    linear = first - half
    return max(1, math.ceil((math.sqrt(linear * linear + 4.0 * half * max(0.0, seconds)) - linear) / growth))


Stepped = Callable[[int, float, float], None]
"""Is called for a pass that only decoded, with its sequences, their mean cached tokens, and its seconds."""
