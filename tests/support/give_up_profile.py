"""A profile with points at which hopeless thoughts are given up, as one might be measured where they are long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.profile.certificate import ByClass
from models.profile.give_up import LADDER
from models.profile.give_up_tables import GiveUpTables, give_up_tables
from models.profile.profile import Profile, Table
from tests.support.analysis_profile import made_profile

MEDIANS = (100.0, 200.0, 350.0)
COUNT = 600
STEPS = np.arange(1, len(LADDER) + 1)


def giving_up_profile(*, harmed: int = 0, unplaced: str | None = None) -> Profile:
    """Each curve saves more tokens of harder classes than the last, and costs a little accuracy.

    `harmed`: questions that each curve throws away.
    """
    made = made_profile(certified_to=5)
    base = np.array(made.certificate.harmed)
    levels = np.stack([base, *(np.minimum(COUNT, base + harmed * step) for step in STEPS)])
    return replace(made, give_up=lower_curves(made, levels, [_thirds(level) for level in levels], unplaced=unplaced))


def lower_curves(
    made: Profile, harmed: np.ndarray, by_class: Sequence[ByClass], *, unplaced: str | None = None
) -> GiveUpTables:
    """The curves of a made profile; `harmed` is [without, then curve][threshold][budget]."""
    saved, lost = np.array([0.01, 0.04, 0.09]), np.array([0.001, 0.002, 0.003])
    return give_up_tables(
        curves=LADDER,
        medians=MEDIANS,
        fitted=48,
        tokens=_scaled(made.tokens, 1.0 - STEPS[:, None] * saved),
        accuracy=_lowered(made.accuracy, STEPS[:, None] * lost),
        p95_steps=_scaled(made.p95_steps, 1.0 - STEPS[:, None] * saved),
        harmed=harmed,
        count=made.certificate.count,
        epsilon=made.certificate.epsilon,
        delta=made.certificate.delta,
        by_class=by_class,
        unplaced=unplaced,
    )


def _thirds(harmed: np.ndarray) -> ByClass:
    each = np.stack([harmed // 3, harmed // 3, harmed - 2 * (harmed // 3)])
    return ByClass(
        counts=(COUNT // 3,) * 3, harmed=_table(each), ages=(), alive=tuple(((),) * len(harmed) for _ in range(3))
    )


def _scaled(table: Table, by: np.ndarray) -> tuple[Table, ...]:
    return tuple(_table(np.array(table) * each[:, None, None]) for each in by)


def _lowered(table: Table, by: np.ndarray) -> tuple[Table, ...]:
    return tuple(_table(np.clip(np.array(table) - each[:, None, None], 0.0, 1.0)) for each in by)


def _table(values: np.ndarray) -> Table:
    return tuple(tuple(map(tuple, rows)) for rows in values.tolist())
