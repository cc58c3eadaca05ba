"""Giving up: a trial answer so unsure that the thought will not end well; the best trial so far becomes the answer."""

from __future__ import annotations

from dataclasses import dataclass

from controller.policy import Limits
from engine.base import Probed
from models.profile.give_up import worth_below


@dataclass(frozen=True, slots=True)
class StandingTrial:
    """A trial answer that was not given up, and where."""

    probed: Probed
    at: int  # length of the thought

    @property
    def confidence(self) -> float:
        return self.probed.confidence

    @property
    def path(self) -> tuple[int, ...]:
        """The tokens of the trial behind its suffix."""
        probed = self.probed
        return probed.answer if probed.terminator is None else (*probed.answer, probed.terminator)


def better(best: StandingTrial | None, probed: Probed, at: int) -> StandingTrial | None:
    """Returns the best trial so far, the new one after `at` tokens included: the surest, of two alike the later."""
    if probed.gave_up or (best is not None and probed.confidence < best.confidence):
        return best
    return StandingTrial(probed, at)


def give_up_below(limits: Limits, at: int, best: StandingTrial | None, otherwise: float) -> float:
    """Returns the confidence below which a probe after `at` tokens may end early; without a curve it is `otherwise`."""
    if limits.give_up is None or limits.threshold is None:
        return otherwise
    return worth_below(limits.threshold, limits.give_up.at(at), None if best is None else best.confidence)


def hopeless(limits: Limits, probed: Probed, at: int, asked_below: float) -> bool:
    """Whether the trial answer after `at` tokens lies below the curve in force.

    `asked_below`: the confidence that the probe could not reach if it gave up. Where that lies above the curve it is
    not known, and the thought goes on.
    """
    if limits.give_up is None:
        return False
    low = limits.give_up.at(at)
    return low > 0.0 and (asked_below <= low if probed.gave_up else probed.confidence < low)
