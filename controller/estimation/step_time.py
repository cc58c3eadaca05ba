"""The decode step's time, estimated while serving: a Kalman filter on a + (c + g·context)·batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.files.checks import not_negative, positive
from models.profile.plant import StepTime

Array = npt.NDArray[np.float64]

_SCALE = np.array([1e3, 1e3, 1e6])  # the filter works in ms, ms per sequence and µs per cached token


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeSettings:
    """The initial estimate, and how it may move."""

    # the estimate before any step was timed
    initial: StepTime = field(default_factory=lambda: StepTime(a=0.010, c=0.0005, g=1e-7))
    initial_spread: float = 1.0  # standard deviations of a, c and g, relative to their initial values
    drift: float = 0.01  # standard deviation of each one's change in a second of decoding, likewise relative; 1/√s
    noise: float = 0.05  # standard deviation of one step's time, relative to it
    outlier: float = 3.0  # standard deviations; a step further off moves the estimate no more than one at this

    def __post_init__(self) -> None:
        positive(self, "initial_spread", "noise", "outlier")
        not_negative(self, "drift")


def softened(R: float, *, S: float, y: float, sigmas: float) -> float:
    """Returns R grown so that a residual y beyond `sigmas`·√S moves the estimate no more than one of `sigmas`·√S.

    A single outlier moves the estimate little; a lasting change is still followed.
    """
    return R + S * max(abs(y) / math.sqrt(S) / sigmas - 1.0, 0.0)


class StepTimeFilter:
    """Estimates a, c and g of the serving engine, from pure decode steps only.

    `controller.serving.pace.Pace` also times steps, and knows no more than their mean. Planning asks what a step would
    take with another batch, and how sure that is; queue waits must be foretold without a profile. So there are two.
    """

    def __init__(self, settings: StepTimeSettings) -> None:
        from filterpy.kalman import KalmanFilter  # heavy: scipy.stats, with it

        self._settings = settings
        initial = settings.initial
        filter_ = self._filter = KalmanFilter(dim_x=3, dim_z=1)
        filter_.x = (np.array([initial.a, initial.c, initial.g]) * _SCALE)[:, None]
        # A parameter believed to be 0 may still turn out larger, by about a tenth of the step with one sequence.
        least = np.array([0.1, 0.1, 1e-4]) * initial.seconds(1) * _SCALE
        self._size = np.maximum(filter_.x[:, 0], least)
        filter_.P = np.diag((settings.initial_spread * self._size) ** 2)
        self._widest = np.diag(filter_.P).copy()

    @property
    def step_time(self) -> StepTime:
        """The estimate."""
        a, c, g = self._filter.x[:, 0] / _SCALE
        return StepTime(a=float(a), c=float(c), g=float(g))

    @property
    def sigma(self) -> tuple[float, float, float]:
        """Standard deviations of a, c and g, in their units."""
        a, c, g = np.sqrt(np.maximum(np.diag(self._filter.P), 0.0)) / _SCALE
        return float(a), float(c), float(g)

    def observe(self, batch: int, context: float, seconds: float) -> None:
        """Takes the `seconds` of a decode step of `batch` sequences with `context` cached tokens on average."""
        settings, f = self._settings, self._filter
        f.Q = np.diag((settings.drift * self._size) ** 2 * min(seconds, 1.0))
        f.predict()
        self._bound()
        z = 1e3 * seconds  # ms
        f.H = np.array([[1.0, batch, 1e-3 * batch * context]])
        expected = (f.H @ f.x).item()
        R = (settings.noise * max(expected, 1e-3)) ** 2
        S = (f.H @ f.P @ f.H.T).item() + R
        f.R = np.array([[softened(R, S=S, y=z - expected, sigmas=settings.outlier)]])
        f.update(np.array([[z]]))
        f.x = np.maximum(f.x, 0.0)
        if f.x[0, 0] + f.x[1, 0] <= 0.0:
            f.x[0, 0] = 1e-6

    def _bound(self) -> None:
        """Bounds the variances by the initial ones, because steady batches do not reveal all three parameters."""
        P = self._filter.P
        shrink = np.minimum(1.0, np.sqrt(self._widest / np.diag(P)))
        self._filter.P = P * np.outer(shrink, shrink)
