"""The operating points of levers, which stand behind those of thresholds and budgets, or in place of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.profile.levers.index import PriceIndexTables
from models.profile.levers.no_thought_tables import NoThoughtTables
from models.profile.tables import Charges, OperatingPoint, OperatingTables
from models.profile.width import WidthTables


def answering_at_once(
    known: NoThoughtTables,
    thresholds: Sequence[float | None],
    budgets: Sequence[int | None],
    *,
    classes: tuple[str, ...],
    longest: int,
    certified_only: bool,
) -> OperatingTables | None:
    """Returns the points that have a cut-off, of `longest` tokens of a thought at most; None: there are none in use."""
    places = [
        (s, i, j)
        for s in range(len(known.cut_offs))
        for i, row in enumerate(known.certified[s + 1])
        for j, safe in enumerate(row)
        if safe or not certified_only
    ]
    if not places:
        return None
    tokens, accuracy, steps = (
        np.stack([np.array(table)[s, :, i, j] for s, i, j in places], axis=1)
        for table in (known.tokens, known.accuracy, known.p95_steps)
    )
    return OperatingTables(
        classes=classes,
        points=tuple(
            OperatingPoint(threshold=thresholds[i], budget=budgets[j], skip=known.cut_offs[s]) for s, i, j in places
        ),
        tokens=tokens,
        accuracy=accuracy,
        p95_steps=steps,
        longest=longest,
    )


def closing_at_prices(
    known: PriceIndexTables,
    places: Sequence[tuple[int, int]],
    budgets: Sequence[int | None],
    *,
    classes: tuple[str, ...],
    longest: int,
) -> OperatingTables:
    """Returns the points at these places of price and budget, which stand in place of thresholds, not behind them."""
    tokens, accuracy, steps = (
        np.stack([np.array(table)[:, i, j] for i, j in places], axis=1)
        for table in (known.tokens, known.accuracy, known.p95_steps)
    )
    prices = (None, *known.prices)
    return OperatingTables(
        classes=classes,
        points=tuple(OperatingPoint(threshold=None, budget=budgets[j], price=prices[i]) for i, j in places),
        tokens=tokens,
        accuracy=accuracy,
        p95_steps=steps,
        longest=longest,
        index=known.index,
    )


def racing(
    width: WidthTables,
    alone: npt.NDArray[np.float64],
    *,
    classes: tuple[str, ...],
    longest: int,
    certified_only: bool,
    account: bool,
    own: bool,
) -> OperatingTables | None:
    """Returns the points at which thoughts race; None: there are none in use.

    `alone`: by class, the accuracy of the full thought, to which is added what races win on their own questions.
    `account`: there is an account of risk, which uses what costs it nothing; `own`: it charges by class.
    """
    chosen = width.usable(free=account) if certified_only else list(range(len(width.rules)))
    if not chosen:
        return None
    won = np.array(width.accuracy)[:, chosen] - np.array(width.alone)[:, None]
    return OperatingTables(
        classes=classes,
        points=tuple(OperatingPoint(threshold=None, budget=None, race=width.rules[k]) for k in chosen),
        tokens=np.array(width.tokens)[:, chosen],
        accuracy=np.clip(alone[:, None] + won, 0.0, 1.0),
        p95_steps=np.array(width.p95_steps)[:, chosen],
        longest=longest,
        charges=Charges(of=np.zeros(won.shape), own=own) if account else None,
    )
