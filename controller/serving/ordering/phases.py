"""Where a request is on its way through the engine: handed over, started, speaking, paused."""

from __future__ import annotations

from dataclasses import dataclass

from engine.base import SequenceId


@dataclass(slots=True, kw_only=True, eq=False)
class RequestPhases:
    """When a request came into its phases, on the loop's clock and in the loop's steps."""

    sequence: SequenceId | None = None  # None: the engine does not have the request
    begun_step: int = 0  # the loop's step count when it was handed over, then when it started
    started_s: float | None = None  # when its prefill began; None: not yet
    first_token_s: float | None = None  # None: no token yet
    paused_step: int | None = None  # the loop's step count when it gave its place away; None: it has not
    deferred: float = 0.0  # tokens that it was charged for, and is not while it is paused

    def enter(self, sequence: SequenceId) -> None:
        """The engine has the request, as `sequence`."""
        self.sequence = sequence

    def start(self, now: float, step: int) -> None:
        """Its prefill has begun, in the loop's step `step`."""
        self.started_s, self.begun_step = now, step

    @property
    def paused(self) -> bool:
        """Whether the engine keeps its memory and decodes others."""
        return self.paused_step is not None

    def pause(self, step: int) -> None:
        """It gives its place away, after the loop's step `step`."""
        self.paused_step = step

    def defer(self, refunded: float) -> None:
        """The charge for `refunded` of its tokens has been taken back until it goes on."""
        self.deferred = refunded

    def resume(self, step: int) -> None:
        """It goes on; the steps between count for nothing."""
        assert self.paused_step is not None, "it runs"
        self.begun_step += step - self.paused_step
        self.paused_step, self.deferred = None, 0.0

    def speak(self, now: float) -> None:
        """The first token of the reply has come."""
        self.first_token_s = now
