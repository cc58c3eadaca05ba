"""A profile of a small reasoning model as one might be measured: accuracy saturates, hard questions take longer."""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.planning.objective import Objective
from models.profile.certificate import certify
from models.profile.plant import StepTime
from models.profile.profile import MeasuredPlant, Profile
from tests.support.model_profile import PROFILE

THRESHOLDS = (None, 0.97, 0.95, 0.9, 0.8, 0.65, 0.5)
BUDGETS = (None, 400, 250, 160, 90)
CLASSES = ("easy", "medium", "hard")
PLAIN = Objective(order_penalty=0.0)


def still() -> float:
    """A clock that stands."""
    return 0.0


def made_profile(*, certified_to: int = len(THRESHOLDS)) -> Profile:
    """The first `certified_to` thresholds are certified, at every budget."""
    tokens, accuracy = [], []
    for natural, best in ((110.0, 0.97), (220.0, 0.9), (380.0, 0.75)):
        reach = np.array([1.0 if t is None else 0.3 + 0.6 * t**4 for t in THRESHOLDS])  # share thought through
        wrong = np.array([0.0 if t is None else 0.25 * (1.0 - t) ** 1.2 for t in THRESHOLDS])  # by early exits
        cap = np.array([640.0 if b is None else b for b in BUDGETS])
        mean = cap * (1.0 - np.exp(-natural * reach[:, None] / cap))  # of lengths cut off at the budget
        tokens.append(25.0 + mean + np.where([t is None for t in THRESHOLDS], 0.0, 6.0)[:, None])
        done = 1.0 - np.exp(-1.4 * cap / natural)
        accuracy.append(best * done[None, :] - wrong[:, None])
    table = np.array(tokens)
    count = 600
    harmed = np.zeros((len(THRESHOLDS), len(BUDGETS)), dtype=np.int64)
    harmed[certified_to:] = count // 2
    return dataclasses.replace(
        PROFILE,
        classes=CLASSES,
        counts=(240, 210, 150),
        thresholds=THRESHOLDS,
        budgets=BUDGETS,
        tokens=_tuples(table),
        square=_tuples(1.6 * table**2),
        accuracy=_tuples(np.clip(np.array(accuracy), 0.0, 1.0)),
        p95_steps=_tuples(2.0 * table),
        certificate=certify(harmed, count, epsilon=0.05, delta=0.05),
        plant=MeasuredPlant(step_time=StepTime(a=4e-3, c=3e-4, g=2e-7), error=0.05, max_batch=16, context=200.0),
    )


def _tuples(table: np.ndarray) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(map(tuple, rows)) for rows in table.tolist())
