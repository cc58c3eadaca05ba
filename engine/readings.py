"""What a probe reads at its answer's first place, by name; every engine that decodes shares it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.base import MARGIN, ProbeSpec


class Readout(Protocol):
    """What a probe may ask of the distribution of its next token, raw softmax; answers are numbers."""

    @property
    def best(self) -> int:
        """The likeliest token."""

    def log_prob(self, token: int) -> float:
        """A token's log probability."""

    def gap(self, token: int) -> float:
        """log p(likeliest) − log p(`token`)."""


def margin(readout: Readout, spec: ProbeSpec) -> float:
    """The reading MARGIN."""
    assert spec.watched is not None, "a ProbeSpec that reads a margin has a token to watch"
    return readout.gap(spec.watched)


READOUTS: dict[str, Callable[[Readout, ProbeSpec], float]] = {MARGIN: margin}
"""How each reading is taken, by its name."""


def read(readout: Readout, spec: ProbeSpec) -> dict[str, float]:
    """Returns all that `spec.read` names."""
    return {name: READOUTS[name](readout, spec) for name in spec.read}
