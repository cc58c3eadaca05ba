"""What an exit signal is, which signals there are, and how one is made from its name and level."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, cast

from controller.serving.request import CUTS, ExitReason
from engine.base import Probed, check_readings
from models.plugins import is_place, load_named

SIGNALS: dict[str, str] = {  # by name; a class is imported when its signal is first asked for
    "confidence": "controller.serving.signals.confidence:Confidence",
    "consistency": "controller.serving.signals.consistency:Consistency",
    "margin": "controller.serving.signals.margin:Margin",
}
STOPS = CUTS | {ExitReason.NATURAL, ExitReason.HOPELESS}  # reasons that no signal gives


class Asks(StrEnum):
    """What a probe decodes beside a thought, and how a thought that it closes goes on."""

    TRIAL_ANSWER = "trial answer"  # the exit suffix and a trial answer, which become part of the reply
    NEXT_TOKEN = "next token"  # the thought's last token again, and what follows it; the landing closes the thought


class Signal(Protocol):
    """Tells from a thought's probes whether the thought may be closed.

    Its class is called with the level, a float, and raises ValueError for a level out of range.
    """

    @property
    def reason(self) -> str:
        """Why a thought that the signal closed has ended: an ExitReason, or a word of its own."""

    @property
    def asks(self) -> Asks:
        """The kind of probe that the signal reads."""

    @property
    def read(self) -> frozenset[str]:
        """What its probes must measure besides their answer, of `engine.base.READINGS`."""

    @property
    def give_up_below(self) -> float:
        """The confidence that a probe must reach to be met; a probe that no longer can ends early. 0: it never does."""

    def closes(self, probes: Sequence[Probed]) -> bool:
        """Whether the thought is to be closed; `probes`: all that it had of this kind, the newest last."""


def make_signal(name: str, level: float) -> Signal:
    """Returns the signal of this name, one of SIGNALS or `module:Class`, at this level.

    Raises ValueError if there is none, if its class makes no Signal, or if the level is out of range.
    """
    made = _load(name, SIGNALS.get(name, name))
    if not callable(made):
        raise ValueError(f"signal {name} is {made!r}, must be a class")
    try:
        signal = made(level)
    except TypeError as error:
        raise ValueError(f"signal {name} cannot be made from its level {level:g}: {error}") from error
    except ValueError as error:
        raise ValueError(f"signal {name}: {error}") from error
    lacks = [part for part in ("reason", "asks", "read", "give_up_below", "closes") if not hasattr(signal, part)]
    if lacks:
        raise ValueError(f"signal {name} has no {', no '.join(lacks)}, must be a Signal (docs/signals.md)")
    _check(name, cast(Signal, signal))
    return cast(Signal, signal)


def _load(name: str, place: str) -> object:
    if not is_place(place):
        raise ValueError(f"signal {name} is unknown, must be one of {', '.join(SIGNALS)} or module:Class")
    try:
        return load_named(place)
    except ValueError as error:
        raise ValueError(f"signal {name}: {error}") from error


def _check(name: str, signal: Signal) -> None:
    """Raises ValueError if a part of the signal is not what Signal says."""
    if not (isinstance(signal.reason, str) and signal.reason.isprintable() and signal.reason):
        raise ValueError(f"signal {name} has reason {signal.reason!r}, must be a word")
    if signal.reason in STOPS:
        raise ValueError(f"signal {name} has reason {signal.reason}, must be none of {', '.join(sorted(STOPS))}")
    if signal.asks not in list(Asks):
        raise ValueError(f"signal {name} asks {signal.asks!r}, must be one of {', '.join(Asks)}")
    if not isinstance(signal.read, frozenset):
        raise ValueError(f"signal {name} has read {signal.read!r}, must be a frozenset of names")
    try:
        check_readings(signal.read)
    except ValueError as error:
        raise ValueError(f"signal {name}: {error}") from error
    if not callable(signal.closes):
        raise ValueError(f"signal {name} has closes {signal.closes!r}, must be a method")
