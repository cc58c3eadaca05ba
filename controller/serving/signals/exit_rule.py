"""The exit signals in force for a thought as one rule: they share each probe, and the first that is met closes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.policy import Limits
from controller.serving.signals.base import Asks, Signal, make_signal
from controller.serving.signals.price_index import PricePassed
from engine.base import MARGIN, Probed, ProbeSpec
from models.errors import LaserError
from models.profile.levers.index import IndexLimit


class SignalError(LaserError, ValueError):
    """An exit signal reads what thoughts of this format do not have."""


@dataclass(frozen=True, slots=True)
class ExitRule:
    """Signals that read the same kind of probe. Raises ValueError if two read different kinds."""

    signals: tuple[Signal, ...] = ()
    index: IndexLimit | None = None  # of which `at` makes a signal for each place; None: there is none

    def __post_init__(self) -> None:
        for signal in self.signals[1:]:
            first = self.signals[0]
            if signal.asks is not first.asks:
                raise ValueError(
                    f"signal {first.reason} asks for the {first.asks} and {signal.reason} for the {signal.asks}, "
                    f"must be one kind of probe"
                )

    @classmethod
    def of(cls, limits: Limits) -> ExitRule:
        """Returns the signals that `limits` name, each at its level. Raises the errors of `make_signal`."""
        made = (make_signal(name, level) for name, level in limits.signals.items())
        return cls(tuple(made), limits.index)

    @property
    def read_at_all(self) -> bool:
        """Whether there is a signal, here or at each place."""
        return bool(self.signals) or self.index is not None

    def at(self, tokens: int) -> ExitRule:
        """Returns the rule for a probe after `tokens` tokens of thought."""
        return self if self.index is None else ExitRule((*self.signals, PricePassed(self.index, tokens)))

    @property
    def asks(self) -> Asks:
        """The kind of probe that the signals read. There must be a signal, or an index."""
        return self.signals[0].asks if self.signals else Asks.TRIAL_ANSWER

    @property
    def give_up_below(self) -> float:
        """The confidence that a probe must reach to meet any signal; 0: unsure answers may meet one too."""
        return min((signal.give_up_below for signal in self.signals), default=0.0)

    def spec(self, trial: ProbeSpec, last: int, close: int | None) -> ProbeSpec:
        """Returns the probe that all signals read.

        `trial` is the thinking format's trial answer, `last` the thought's last token, `close` the token with which the
        closing marker begins; None: there is no marker, so that SignalError is raised if a signal compares with it.
        """
        read = frozenset[str]().union(*(signal.read for signal in self.signals))
        if MARGIN in read and close is None:
            named = self.signals[0].reason
            raise SignalError(f"signal {named} reads the closing marker, but thoughts in the open have none")
        watched = close if MARGIN in read else None
        if self.asks is Asks.NEXT_TOKEN:
            return ProbeSpec(suffix=(last,), max_answer_tokens=1, answer_stops=frozenset(), read=read, watched=watched)
        return replace(trial, give_up_below=self.give_up_below, read=read, watched=watched)

    def verdict(self, asked: Asks, probes: Sequence[Probed]) -> str | None:
        """Returns the reason of the first signal that is met; None: the thought goes on.

        `probes` are the thought's probes of the kind `asked`, the new one last. A signal that came into force while the
        new probe ran, and for which it read nothing, waits for the next.
        """
        for signal in self.signals:
            known = signal.asks is asked and signal.read <= probes[-1].readings.keys()
            if known and signal.closes(probes):
                return signal.reason
        return None
