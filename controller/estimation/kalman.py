"""Kalman filters of random walks that are measured one number at a time, in numpy alone.

A state x is believed to be N(x, P). It moves by w ~ N(0, Q), and z = H·x + v measures it, v ~ N(0, R):

    predict   P ← P + Q
    update    y = z − H·x,  S = H·P·Hᵀ + R,  K = P·Hᵀ/S,  x ← x + K·y,  P ← (I − K·H)·P·(I − K·H)ᵀ + K·R·Kᵀ
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class KalmanFilter:
    """A belief of a state, of `x` (n,) and `P` (n, n)."""

    def __init__(self, x: Array, P: Array) -> None:
        self.x, self.P = x, P
        self.likelihood = 1.0  # of the last measurement, before it was taken in

    def predict(self, Q: Array) -> None:
        """Lets the state move with covariance `Q` (n, n)."""
        self.P = self.P + Q

    def update(self, z: float, H: Array, R: float) -> None:
        """Takes in a measurement `z` of H·x, `H` (n,), with variance `R`."""
        y = z - float(H @ self.x)
        PH = self.P @ H
        S = float(H @ PH) + R
        K = PH / S
        self.x = self.x + K * y
        rest = np.eye(len(K)) - np.outer(K, H)
        self.P = rest @ self.P @ rest.T + R * np.outer(K, K)
        self.likelihood = math.exp(-0.5 * y * y / S) / math.sqrt(2.0 * math.pi * S)


class SwitchingFilter:
    """Filters of one state, each for a way in which it may move, weighted by how well they explain it (IMM)."""

    def __init__(self, filters: Sequence[KalmanFilter]) -> None:
        """All are equally likely at first."""
        self.filters = tuple(filters)
        self.weights: Array = np.full(len(self.filters), 1.0 / len(self.filters))  # μ, probability of each
        self.x, self.P = _mixture(self.filters, self.weights)  # of all together, as last weighed

    def switch(self, M: Array) -> None:
        """Lets the way of moving change with the probabilities `M` [from, to], before the filters predict again.

        Each filter begins anew from the mixture of those that it may have taken over from.
        """
        joint = self.weights[:, None] * M
        self.weights = joint.sum(axis=0)
        begun = [_mixture(self.filters, part / part.sum()) for part in joint.T]
        for one, belief in zip(self.filters, begun, strict=True):
            one.x, one.P = belief

    def weigh(self) -> None:
        """Weighs the filters by the likelihood of what each has measured; call it after they were updated."""
        likely = np.array([max(one.likelihood, sys.float_info.min) for one in self.filters])
        weights = self.weights * likely
        self.weights = weights / weights.sum()
        self.x, self.P = _mixture(self.filters, self.weights)


def _mixture(filters: Sequence[KalmanFilter], weights: Array) -> tuple[Array, Array]:
    """Returns mean and covariance of the filters' beliefs together."""
    x = sum((weight * one.x for weight, one in zip(weights, filters, strict=True)), np.zeros_like(filters[0].x))
    P = np.zeros_like(filters[0].P)
    for weight, one in zip(weights, filters, strict=True):
        P = P + weight * (one.P + np.outer(one.x - x, one.x - x))
    return x, P
