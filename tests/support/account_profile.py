"""A made profile that is certified for an account of risk, with lower curves or without."""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.policies.restricted import with_levers, within_account
from models.profile.certificate import ByClass, certify, evidence
from models.profile.lever import Lever
from models.profile.profile import Profile
from tests.support.analysis_profile import BUDGETS, CLASSES, THRESHOLDS, made_profile
from tests.support.give_up_profile import STEPS, lower_curves

RISK, PEAK = 0.02, 0.1
AGES = (16, 32, 64, 128, 256)
RISING = np.array([0.0, 0.002, 0.004, 0.009, 0.025, 0.05, 0.09])  # of thresholds, strictest first: shares harmed
BY_BUDGET = np.array([0.0, 0.005, 0.01, 0.05, 0.3])
BY_CURVE = 0.003  # what each curve harms more than the last, of those that are probed


def account_profile(
    each: int, *, risk: float = RISK, peak: float = PEAK, ages: bool = True, curves: bool = False
) -> Profile:
    """`each` questions of every class, the hardest harmed most. `ages`: whether running thoughts were counted.

    `curves`: hopeless thoughts are given up, too.
    """
    count, plain = each * len(CLASSES), _counted(each, 0, ages=ages)
    pooled = np.array(plain.harmed).sum(axis=0)
    assert pooled.shape == (len(THRESHOLDS), len(BUDGETS))
    certificate = certify(
        pooled, count, epsilon=0.03, delta=0.05, evidence=evidence(count, count, None, count, 0.05, plain)
    )
    made = dataclasses.replace(made_profile(), certificate=certificate)
    if not curves:
        return within_account(made, risk, peak)
    levels = [_counted(each, step, ages=ages) for step in (0, *STEPS.tolist())]
    harmed = np.array([level.harmed for level in levels]).sum(axis=1)
    made = dataclasses.replace(made, give_up=lower_curves(made, harmed, levels))
    return with_levers(within_account(made, risk, peak), {Lever.GIVE_UP})


def _counted(each: int, step: int, *, ages: bool) -> ByClass:
    """What `each` questions of every class show under a curve; `step` 0: without one."""
    rows = range(len(THRESHOLDS))
    share = RISING[:, None] + BY_BUDGET[None, :] + BY_CURVE * step * (np.arange(len(THRESHOLDS)) > 0)[:, None]
    harmed = [np.round(each * weight * np.clip(share, 0.0, 1.0)) for weight in (0.4, 1.0, 1.6)]
    slower = [300.0 - 30.0 * i - 8.0 * step * (i > 0) for i in rows]  # the sooner they end, the laxer the point
    alive = [tuple(round(each * np.exp(-age / mean)) for age in AGES) if ages else () for mean in slower]
    return ByClass(
        counts=(each,) * len(CLASSES),
        harmed=tuple(tuple(map(tuple, table.astype(np.int64).tolist())) for table in harmed),
        ages=AGES if ages else (),
        alive=tuple(tuple(alive) for _ in CLASSES),
    )
