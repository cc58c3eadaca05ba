"""Estimates the present load from what the serving loop counts: arrivals, finished requests and decode steps.

The numbers of running and waiting requests are known exactly and not estimated. Time comes in as arguments only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from controller.estimation.arrivals import ArrivalRate, ArrivalSettings, WindowedRate
from controller.estimation.step_time import StepTimeFilter, StepTimeSettings, softened
from controller.load import Load
from models.files.checks import not_negative, positive
from models.profile.plant import StepTime

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorSettings:
    """The initial estimates, and how fast estimates move."""

    arrivals: ArrivalSettings = field(default_factory=ArrivalSettings)  # how arrival rates are filtered
    step_time: StepTimeSettings = field(default_factory=StepTimeSettings)  # how the step time is filtered
    window_s: float | None = None  # the arrival rate is the plain mean over this window; None: it is filtered
    mix_s: float = 900.0  # τ: a request's weight in the class mix falls to 1/e in this time
    mix_prior: float = 30.0  # weight of the initial mix, in requests
    initial_mix: tuple[float, ...] = ()  # share of each class; empty: equal shares
    length_spread: float = 0.8  # standard deviation of a request's tokens, relative to the expected tokens
    work_spread: float = 0.3  # standard deviation of the initial work ratio, 1
    outlier: float = 4.0  # standard deviations; a request further off moves the work ratio no more than one at this
    work_drift: float = 0.02  # standard deviation of the work ratio's change from one finished request to the next
    least_work: float = 0.1  # lower bound of the work ratio
    most_work: float = 10.0  # upper bound of the work ratio

    def __post_init__(self) -> None:
        positive(self, "mix_s", "mix_prior", "length_spread", "work_spread", "outlier", "window_s")
        not_negative(self, "work_drift")
        if not 0.0 < self.least_work < 1.0 < self.most_work < math.inf:
            raise ValueError(
                f"least_work and most_work are {self.least_work} and {self.most_work}, must be finite, above 0, "
                "and have 1 between them"
            )
        for share in self.initial_mix:
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"initial_mix has {share}, must be between 0 and 1")
        if self.initial_mix and not math.isclose(sum(self.initial_mix), 1.0, abs_tol=1e-6):
            raise ValueError(f"initial_mix sums to {sum(self.initial_mix):.6g}, must be 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadEstimate:
    """The estimated load; sigmas are standard deviations."""

    rate: float  # requests/s
    rate_sigma: float
    mix: Array  # share of each class
    work_ratio: Array  # κ, by class: actual over predicted tokens
    work_ratio_sigma: Array
    step_time: StepTime
    step_time_sigma: tuple[float, float, float]  # of a, c and g

    @property
    def load(self) -> Load:
        """The estimate in the form that the optimiser takes."""
        return Load(rate=self.rate, mix=self.mix, work_ratio=self.work_ratio)


class LoadEstimator:
    """Estimates the load of a server. An impossible measurement only increases `rejected`."""

    def __init__(self, classes: Sequence[str], settings: EstimatorSettings) -> None:
        if settings.initial_mix and len(settings.initial_mix) != len(classes):
            raise ValueError(f"initial_mix has {len(settings.initial_mix)} entries, must have {len(classes)} or none")
        self.rejected = 0  # impossible measurements: not finite, negative, or 0 where that cannot be
        self._index = {name: d for d, name in enumerate(classes)}
        self._arrivals = _arrival_rate(settings)
        self._mix = _ClassMix(np.array(settings.initial_mix or [1.0 / len(classes)] * len(classes)), settings)
        self._work = [_WorkRatio(settings) for _ in classes]
        self._step_time = StepTimeFilter(settings.step_time)

    def arrivals(self, counts: Sequence[float] | None, dt: float) -> None:
        """Takes the number of requests of each class that arrived in the last `dt` seconds; None: not counted.

        Raises ValueError if `counts` does not have one entry for each class.
        """
        if counts is not None and len(counts) != len(self._index):
            raise ValueError(f"counts has {len(counts)} entries, must have {len(self._index)}: one for each class")
        if not _sound(dt, above=True) or (counts is not None and not all(map(_sound, counts))):
            self.rejected += 1
            return
        self._arrivals.observe(None if counts is None else float(sum(counts)), dt)
        self._mix.observe(np.zeros(len(self._index)) if counts is None else np.asarray(counts, dtype=np.float64), dt)

    def finished(self, difficulty: str, tokens: float, predicted: float) -> None:
        """Takes the `tokens` of a finished request and those that the profile `predicted` at its operating point.

        Raises ValueError if the class is unknown.
        """
        d = self._index.get(difficulty)
        if d is None:
            raise ValueError(f"difficulty is {difficulty!r}, must be one of {', '.join(self._index)}")
        if not _sound(tokens) or not _sound(predicted, above=True):
            self.rejected += 1
            return
        self._work[d].observe(tokens, predicted)

    def step(self, batch: int, context: float, seconds: float) -> None:
        """Takes the `seconds` of a pure decode step of `batch` sequences with `context` cached tokens on average."""
        if not (_sound(batch, above=True) and _sound(context) and _sound(seconds, above=True)):
            self.rejected += 1
            return
        self._step_time.observe(batch, context, seconds)

    @property
    def estimate(self) -> LoadEstimate:
        """The estimate now."""
        return LoadEstimate(
            rate=self._arrivals.rate,
            rate_sigma=self._arrivals.sigma,
            mix=self._mix.mix,
            work_ratio=np.array([work.ratio for work in self._work]),
            work_ratio_sigma=np.array([work.sigma for work in self._work]),
            step_time=self._step_time.step_time,
            step_time_sigma=self._step_time.sigma,
        )


class _ClassMix:
    """A Dirichlet whose counts fade, because a single class arrives too rarely for a filter of its own."""

    def __init__(self, initial: Array, settings: EstimatorSettings) -> None:
        self._prior = settings.mix_prior * initial
        self._counts = np.zeros(len(initial))
        self._fade_s = settings.mix_s

    @property
    def mix(self) -> Array:
        weights = self._prior + self._counts
        mix: Array = weights / weights.sum()
        return mix

    def observe(self, counts: Array, dt: float) -> None:
        self._counts = self._counts * math.exp(-dt / self._fade_s) + counts


class _WorkRatio:
    """κ, actual over predicted tokens of one class: z = tokens, H = predicted."""

    def __init__(self, settings: EstimatorSettings) -> None:
        from filterpy.kalman import KalmanFilter  # heavy: scipy.stats, with it

        self._settings = settings
        f = self._filter = KalmanFilter(dim_x=1, dim_z=1)
        f.x, f.P = np.array([[1.0]]), np.array([[settings.work_spread**2]])
        f.F, f.Q = np.array([[1.0]]), np.array([[settings.work_drift**2]])

    @property
    def ratio(self) -> float:
        return float(self._filter.x[0, 0])

    @property
    def sigma(self) -> float:
        return math.sqrt(float(self._filter.P[0, 0]))

    def observe(self, tokens: float, predicted: float) -> None:
        f = self._filter
        f.predict()
        f.H = np.array([[predicted]])
        R = (self._settings.length_spread * self.ratio * predicted) ** 2
        S = predicted**2 * float(f.P[0, 0]) + R
        f.R = np.array([[softened(R, S=S, y=tokens - self.ratio * predicted, sigmas=self._settings.outlier)]])
        f.update(np.array([[tokens]]))
        f.x = np.clip(f.x, self._settings.least_work, self._settings.most_work)


def _arrival_rate(settings: EstimatorSettings) -> ArrivalRate | WindowedRate:
    arrivals = settings.arrivals
    if settings.window_s is None:
        return ArrivalRate(arrivals)
    return WindowedRate(window_s=settings.window_s, initial_rate=arrivals.initial_rate, min_rate=arrivals.min_rate)


def _sound(value: float, *, above: bool = False) -> bool:
    """Whether a measurement is finite and at least 0, or above 0 if `above`."""
    return math.isfinite(value) and (value > 0.0 if above else value >= 0.0)
