"""What serving takes now: s a step, steps a request, tokens an answer; so how long an answer or a queue takes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

STEP_GAIN = 0.1  # of a moving mean, per step
REQUEST_GAIN = 0.15  # per request; the first few count alike
LENGTHS = 64  # of the last requests that ended, to tell from an age what is left
FIRST_STEP_S = 0.02  # a guess, until a step has been timed
FIRST_LENGTH = 512  # steps at most, the same until a request has ended


class Pace:
    """Moving means of what was measured last. Pure; None: nothing was yet.

    A request's time is counted in steps, which thoughts decide, times the time of a step, which the machine and the
    number that run decide: so a machine that slows down is known long before the next request has ended.
    """

    def __init__(self) -> None:
        self.step_s: float | None = None
        self.steps: float | None = None  # from a request's start to its end
        self.rows: float | None = None  # decoded for a request
        self.answer_tokens: float | None = None
        self._most: float | None = None  # steps that a request may take
        self._ended = 0
        self._last: deque[int] = deque(maxlen=LENGTHS)  # steps of those that ended last …
        self._lengths: list[int] = []  # … and sorted

    def stepped(self, seconds: float) -> None:
        """A step of the engine, with all that belongs to it."""
        self.step_s = _moved(self.step_s, seconds, STEP_GAIN)

    def began(self, most_steps: int) -> None:
        """A request's turn has come; so long it may take."""
        self._most = _moved(self._most, float(most_steps), REQUEST_GAIN)

    def finished(self, *, steps: int, rows: int, answer_tokens: int) -> None:
        """A request has ended by itself."""
        self._ended += 1
        gain = max(REQUEST_GAIN, 1.0 / self._ended)
        self.steps = _moved(self.steps, float(steps), gain)
        self.rows = _moved(self.rows, float(rows), gain)
        self.answer_tokens = _moved(self.answer_tokens, float(answer_tokens), gain)
        self._last.append(steps)
        self._lengths = sorted(self._last)

    def answer_s(self, most_tokens: int) -> float:
        """What an answer will take, at least a step and at most `most_tokens`."""
        tokens = most_tokens if self.answer_tokens is None else min(self.answer_tokens, most_tokens)
        return (1.0 + tokens) * (self.step_s or 0.0)

    def request_steps(self, ages: Sequence[int]) -> float:
        """S, the steps that a request takes, told from those that have ended and from the ages of those that run.

        The first to end are the shortest. So until twice as many have ended as run, those that run count too, ever
        less, with the length to be expected at their age. S is at least their mean age.
        """
        if not ages:
            return self._length(0) if self.steps is None else self.steps
        share = max(0.0, 1.0 - self._ended / (2 * len(ages)))
        known = self._ended * (self.steps or 0.0) + share * math.fsum(map(self._length, ages))
        return max(known / (self._ended + share * len(ages)), math.fsum(ages) / len(ages))

    def room_s(self, ages: Sequence[int]) -> tuple[float, float]:
        """How long until one of those that run makes room, and how long from then on between one and the next.

        By Little's law n requests that take S each leave at a rate of n/S; the first leaves when what is left of those
        that run has passed, which matters where few do. `ages`: steps that each has run.
        """
        running, step_s = max(len(ages), 1), self.step_s or FIRST_STEP_S
        left = [self._length(age) - age for age in ages or (0,)]
        first = max(1.0, math.fsum(left) / len(left) / running)
        return first * step_s, self.request_steps(ages) / running * step_s

    def _length(self, age: int) -> float:
        """Steps to be expected in all of a request that has run for `age`: as those had that were longer.

        One that is longer than any, or than nothing, since none has ended, is taken to be in the middle.
        """
        longer = self._lengths[bisect_right(self._lengths, age) :]
        if longer:
            return sum(longer) / len(longer)
        most = 2.0 * FIRST_LENGTH if self._most is None else self._most
        guess = 0.0 if self._lengths else min(most / 2, FIRST_LENGTH)
        return max(age, min(max(2.0 * age, guess), most))


def _moved(mean: float | None, value: float, gain: float) -> float:
    return value if mean is None else mean + gain * (value - mean)
