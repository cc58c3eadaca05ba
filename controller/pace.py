"""What serving takes now: s a step, steps a request, tokens an answer; so how long an answer or a queue takes."""

from __future__ import annotations

STEP_GAIN = 0.1  # of a moving mean, per step
REQUEST_GAIN = 0.15  # per request


class Pace:
    """Moving means of what was measured last. Pure; None: nothing was yet.

    A request's time is counted in steps, which thoughts decide, times the time of a step, which the machine and the
    number that run decide: so a machine that slows down is known long before the next request has ended.
    """

    def __init__(self) -> None:
        self.step_s: float | None = None
        self.steps: float | None = None  # from a request's turn to its end
        self.rows: float | None = None  # decoded for a request
        self.answer_tokens: float | None = None

    def stepped(self, seconds: float) -> None:
        """A step of the engine, with all that belongs to it."""
        self.step_s = _moved(self.step_s, seconds, STEP_GAIN)

    def finished(self, *, steps: int, rows: int, answer_tokens: int) -> None:
        """A request has ended by itself."""
        self.steps = _moved(self.steps, float(steps), REQUEST_GAIN)
        self.rows = _moved(self.rows, float(rows), REQUEST_GAIN)
        self.answer_tokens = _moved(self.answer_tokens, float(answer_tokens), REQUEST_GAIN)

    def answer_s(self, most_tokens: int) -> float:
        """What an answer will take, at least a step and at most `most_tokens`."""
        tokens = most_tokens if self.answer_tokens is None else min(self.answer_tokens, most_tokens)
        return (1.0 + tokens) * (self.step_s or 0.0)

    def wait_s(self, ahead: int, running: int, mean_age_s: float) -> float:
        """How long until `ahead` of those that run or wait have made room, one after the other.

        By Little's law `running` requests that take S each leave at a rate of running/S. S is at least the mean age of
        those that run, which is all that is known before the first has ended.
        """
        service_s = max((self.steps or 0.0) * (self.step_s or 0.0), mean_age_s)
        return ahead * service_s / max(running, 1)


def _moved(mean: float | None, value: float, gain: float) -> float:
    return value if mean is None else mean + gain * (value - mean)
