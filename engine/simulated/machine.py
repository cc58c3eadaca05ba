"""What a simulated machine is: how long its forward passes take, and how much it holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.profile.plant import StepTime
from models.profile.profile import Profile

CELLS = 65_536


class SkippingClock(Protocol):
    """Seconds that can be skipped while there is nothing to do."""

    alarm: float  # when the next thing comes from outside

    def __call__(self) -> float:
        """Now."""

    def skip(self, until: float) -> None:
        """Let it be that time, unless it is later already."""


@dataclass(slots=True, kw_only=True)
class VirtualClock:
    """Seconds that only a simulation moves on."""

    now: float = 0.0
    alarm: float = math.inf

    def __call__(self) -> float:
        return self.now

    def skip(self, until: float) -> None:
        self.now = max(self.now, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A pass takes a + (c + g·context)·sequences seconds, and what prompts, forced tokens and probes add."""

    step_time: StepTime
    max_batch: int  # sequences decoded at once; more wait
    probe_row_s: float = 0.0  # s for each row of a probe
    prefill_s: float = 0.0  # s for each token of a prompt, or forced
    prefill_chunk: int = 256  # prompt tokens in a pass
    cells: int = CELLS  # tokens of KV cache, shared by all sequences

    def __post_init__(self) -> None:
        for name in ("max_batch", "prefill_chunk", "cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        for name in ("probe_row_s", "prefill_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value} s, must be finite and at least 0")


def profiled_machine(profile: Profile, *, prefill_s: float | None = None, cells: int = CELLS) -> Machine:
    """The machine that a profile was measured on.

    A probe's row costs what it was measured to add; so does a prompt's token, which the profile doesn't tell, unless
    `prefill_s` is given.
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
    """How many passes have ended, or end first, once so much time is over: at least 1.

    The first takes `first`, each later one `growth` more: k of them take k·first + growth·k(k−1)/2.
    """
    if growth == 0.0:
        return max(1, math.ceil(seconds / first))
    half = growth / 2.0
    linear = first - half
    return max(1, math.ceil((math.sqrt(linear * linear + 4.0 * half * max(0.0, seconds)) - linear) / growth))


Stepped = Callable[[int, float, float], None]
"""Hears of a pass that only decoded: sequences, their mean cached tokens, seconds."""
