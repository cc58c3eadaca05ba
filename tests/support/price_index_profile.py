"""A profile with an index of running thoughts, as one might be measured where prices do better than thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.profile.levers.index import AGES, CONFIDENCES, PricedTable, PriceIndex, PriceIndexTables, price_index_tables
from models.profile.profile import Profile
from tests.support.analysis_profile import BUDGETS, CLASSES, made_profile

MEDIANS = (100.0, 200.0, 350.0)
PRICES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
COUNT = 600


def made_index() -> PriceIndex:
    """Going on wins less the surer and the older a thought is, and less a row in harder classes."""
    confidences, ages = np.arange(len(CONFIDENCES) + 1), np.arange(len(AGES) + 1)
    values = np.array([2e-2, 1e-2, 5e-3])[:, None, None] * np.exp(-0.8 * confidences - 0.3 * ages[:, None])
    return PriceIndex(medians=MEDIANS, ages=AGES, confidences=CONFIDENCES, values=_tuples(values))


def made_tables(harmed: int = 4, *, count: int = COUNT, unfit: str | None = None) -> PriceIndexTables:
    """Each price saves a tenth more than the last and costs half a point; it harms `harmed` questions more."""
    plain, steps = made_profile(), np.arange(len(PRICES) + 1)
    tokens, accuracy, p95 = (np.array(getattr(plain, name))[:, :1] for name in ("tokens", "accuracy", "p95_steps"))
    return price_index_tables(
        index=made_index(),
        prices=PRICES,
        fitted=300,
        pseudo=20.0,
        tokens=_tuples(tokens * (1.0 - 0.1 * steps)[None, :, None]),
        accuracy=_tuples(np.clip(accuracy - 0.005 * steps[None, :, None], 0.0, 1.0)),
        p95_steps=_tuples(p95 * (1.0 - 0.1 * steps)[None, :, None]),
        harmed=np.repeat(harmed * steps[:, None], len(BUDGETS), axis=1),
        count=count,
        epsilon=0.05,
        delta=0.05,
        unfit=unfit,
    )


def price_index_profile(harmed: int = 4, *, count: int = COUNT, unfit: str | None = None) -> Profile:
    """A made profile with `made_tables`."""
    assert len(MEDIANS) == len(CLASSES)
    return replace(made_profile(certified_to=5), index=made_tables(harmed, count=count, unfit=unfit))


def _tuples(table: np.ndarray) -> PricedTable:
    return tuple(tuple(map(tuple, rows)) for rows in table.tolist())
