"""The pace of serving: seconds per step, steps per request, tokens per answer; predicts answer and queue times."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

STEP_GAIN = 0.1  # of a moving mean, per step
REQUEST_GAIN = 0.15  # per request; the first few requests count equally
LENGTHS = 64  # number of recent requests whose lengths are kept, to predict the steps left from an age
FIRST_STEP_S = 0.02  # assumed until a step has been timed
FIRST_LENGTH = 512  # steps; assumed at most until a request has ended


class Pace:
    """Moving means of recent measurements. Pure; None: nothing measured yet.

    The house has two clocks of one machine. This one times whole steps with everything around them, probes and prefill
    included, under whatever policy serves and without a profile: it tells waiting clients when their turn comes. The
    controller's, `StepTimeFilter` with `Plant.steps_within`, tells how a step's time would change with the batch: it
    plans for loads that are not there yet.

    A request's time is its number of steps, which depends on its thought, times the time of a step, which depends on
    the machine and the batch: so a slower machine shows long before the next request has ended.
    """

    def __init__(self) -> None:
        self.step_s: float | None = None
        self.steps: float | None = None  # from a request's start to its end
        self.rows: float | None = None  # decoded for a request
        self.answer_tokens: float | None = None
        self._most: float | None = None  # mean of the most steps that a request may take
        self._ended = 0
        self._last: deque[int] = deque(maxlen=LENGTHS)  # steps of the last requests that ended …
        self._lengths: list[int] = []  # … and sorted

    def stepped(self, seconds: float) -> None:
        """Takes the time of one engine step with the loop's work around it."""
        self.step_s = _moved(self.step_s, seconds, STEP_GAIN)

    def began(self, most_steps: int) -> None:
        """A request has been handed to the engine; it takes at most `most_steps` steps."""
        self._most = _moved(self._most, float(most_steps), REQUEST_GAIN)

    def finished(self, *, steps: int, rows: int, answer_tokens: int) -> None:
        """A request has ended without an error."""
        self._ended += 1
        gain = max(REQUEST_GAIN, 1.0 / self._ended)
        self.steps = _moved(self.steps, float(steps), gain)
        self.rows = _moved(self.rows, float(rows), gain)
        self.answer_tokens = _moved(self.answer_tokens, float(answer_tokens), gain)
        self._last.append(steps)
        self._lengths = sorted(self._last)

    def answer_s(self, most_tokens: int) -> float:
        """Returns the expected time of an answer: one step, and one for each expected token, at most `most_tokens`."""
        tokens = most_tokens if self.answer_tokens is None else min(self.answer_tokens, most_tokens)
        return (1.0 + tokens) * (self.step_s or 0.0)

    def request_steps(self, ages: Sequence[int]) -> float:
        """Returns S, the expected steps of a request, from the ended requests and the `ages` of the running ones.

        The first requests to end are the shortest. So until twice as many have ended as are running, the running ones
        count too, with falling weight and with the length expected at their age. S is at least their mean age.
        """
        if not ages:
            return self._length(0) if self.steps is None else self.steps
        share = max(0.0, 1.0 - self._ended / (2 * len(ages)))
        known = self._ended * (self.steps or 0.0) + share * math.fsum(map(self._length, ages))
        return max(known / (self._ended + share * len(ages)), math.fsum(ages) / len(ages))

    def room_s(self, ages: Sequence[int]) -> tuple[float, float]:
        """Returns the expected times until a running request first makes room, and between one such end and the next.

        By Little's law n requests that take S steps each leave at a rate of n/S per step. The first end is expected
        after the mean steps left divided by n, which matters if few run. `ages`: steps that each request has run.
        """
        running, step_s = max(len(ages), 1), self.step_s or FIRST_STEP_S
        left = [self._length(age) - age for age in ages or (0,)]
        first = max(1.0, math.fsum(left) / len(left) / running)
        return first * step_s, self.request_steps(ages) / running * step_s

    def _length(self, age: int) -> float:
        """Returns the expected total steps of a request that has run for `age` steps: the mean recent length above it.

        A request older than every recent one, or any request while none has ended, counts as half done.
        """
        longer = self._lengths[bisect_right(self._lengths, age) :]
        if longer:
            return sum(longer) / len(longer)
        most = 2.0 * FIRST_LENGTH if self._most is None else self._most
        guess = 0.0 if self._lengths else min(most / 2, FIRST_LENGTH)
        return max(age, min(max(2.0 * age, guess), most))


def _moved(mean: float | None, value: float, gain: float) -> float:
    return value if mean is None else mean + gain * (value - mean)
