"""A made profile that is certified for an account of risk."""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.policies.restricted import within_account
from models.profile.certificate import ByClass, certify, evidence
from models.profile.profile import Profile
from tests.support.analysis_profile import BUDGETS, CLASSES, THRESHOLDS, made_profile

RISK, PEAK = 0.02, 0.1
AGES = (16, 32, 64, 128, 256)
RISING = np.array([0.0, 0.002, 0.004, 0.009, 0.025, 0.05, 0.09])  # of thresholds, strictest first: shares harmed
BY_BUDGET = np.array([0.0, 0.005, 0.01, 0.05, 0.3])


def account_profile(each: int, *, risk: float = RISK, peak: float = PEAK, ages: bool = True) -> Profile:
    """`each` questions of every class, the hardest harmed most. `ages`: whether running thoughts were counted."""
    share = np.clip(RISING[:, None] + BY_BUDGET[None, :], 0.0, 1.0)
    harmed = np.array([np.round(each * weight * share) for weight in (0.4, 1.0, 1.6)]).astype(np.int64)
    alive = np.array([[np.round(each * np.exp(-np.array(AGES) / (300.0 - 30.0 * i)))] for i in range(len(THRESHOLDS))])
    seen = ByClass(
        counts=(each,) * len(CLASSES),
        harmed=tuple(tuple(map(tuple, table)) for table in harmed.tolist()),
        ages=AGES if ages else (),
        alive=tuple(
            tuple(tuple(map(int, alive[i, 0])) if ages else () for i in range(len(THRESHOLDS))) for _ in CLASSES
        ),
    )
    count = each * len(CLASSES)
    certificate = certify(
        harmed.sum(axis=0), count, epsilon=0.03, delta=0.05, evidence=evidence(count, count, None, count, 0.05, seen)
    )
    assert harmed.shape[1:] == (len(THRESHOLDS), len(BUDGETS))
    return within_account(dataclasses.replace(made_profile(), certificate=certificate), risk, peak)
