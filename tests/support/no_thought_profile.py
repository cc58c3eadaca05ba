"""A profile with points at which prompts are answered at once, as one might be measured where some are easy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.profile.difficulty import FEATURES
from models.profile.levers.no_thought_tables import CUT_OFFS, NoThoughtTables, no_thought_tables
from models.profile.levers.switch import Switch
from models.profile.profile import Profile, Table
from tests.support.analysis_profile import made_profile

COUNT = 600
STEPS = np.arange(1, len(CUT_OFFS) + 1)
SURE = Switch(weights=(*(0.0,) * (2 * FEATURES + 1), 20.0))  # no prompt needs a thought


def no_thought_profile(*, harmed: int = 0) -> Profile:
    """Each cut-off saves more tokens of easier classes than the last, and costs a little accuracy.

    `harmed`: questions that each cut-off answers wrongly.
    """
    made = made_profile(certified_to=5)
    base = np.array(made.certificate.harmed)
    levels = np.stack([base, *(np.minimum(COUNT, base + harmed * step) for step in STEPS)])
    return replace(made, no_thought=cut_off_tables(made, levels))


def cut_off_tables(made: Profile, harmed: np.ndarray, *, lost: float = 0.004, saved: float = 0.09) -> NoThoughtTables:
    """The cut-offs of a made profile; `harmed` is [without, then cut-off][threshold][budget]."""
    by_class = saved * np.array([1.0, 0.5, 0.1])
    return no_thought_tables(
        switch=SURE,
        cut_offs=CUT_OFFS,
        skipped=(0.1 * STEPS).tolist(),
        tokens=_scaled(made.tokens, 1.0 - STEPS[:, None] * by_class),
        accuracy=_lowered(made.accuracy, STEPS * lost),
        p95_steps=_scaled(made.p95_steps, 1.0 - STEPS[:, None] * by_class),
        harmed=harmed,
        count=made.certificate.count,
        epsilon=made.certificate.epsilon,
        delta=made.certificate.delta,
    )


def _scaled(table: Table, by: np.ndarray) -> tuple[Table, ...]:
    return tuple(_table(np.array(table) * each[:, None, None]) for each in by)


def _lowered(table: Table, by: np.ndarray) -> tuple[Table, ...]:
    return tuple(_table(np.clip(np.array(table) - each, 0.0, 1.0)) for each in by)


def _table(values: np.ndarray) -> Table:
    return tuple(tuple(map(tuple, rows)) for rows in values.tolist())
