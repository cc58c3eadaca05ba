"""The operating points of levers, which stand behind those of thresholds and budgets, or in place of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.profile.levers.index import PriceIndexTables
from models.profile.levers.no_thought_tables import NoThoughtTables
from models.profile.tables import Charges, OperatingPoint, OperatingTables
from models.profile.width import WidthTables

Array = npt.NDArray[np.float64]


def answering_at_once(
    known: NoThoughtTables,
    thresholds: Sequence[float | None],
    budgets: Sequence[int | None],
    *,
    classes: tuple[str, ...],
    longest: int,
    spread: Array,
    certified_only: bool,
) -> OperatingTables | None:
    """Returns the points that have a cut-off, of `longest` tokens of a thought at most; None: there are none in use.

    `spread`: mean squared token rows over mean token rows, [class, threshold, budget], where nothing is answered at
    once. It is taken to hold beside cut-offs, too: who is answered at once would have thought as long as the others.
    """
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
        square=tokens * np.stack([spread[:, i, j] for _, i, j in places], axis=1),
    )


def closing_at_prices(
    known: PriceIndexTables,
    places: Sequence[tuple[int, int]],
    budgets: Sequence[int | None],
    *,
    classes: tuple[str, ...],
    longest: int,
    unpriced: npt.ArrayLike,
    square: npt.ArrayLike,
    prompt: float,
) -> OperatingTables:
    """Returns the points at these places of price and budget, which stand in place of thresholds, not behind them.

    `unpriced`, `square`: mean token rows and mean squared ones, [class, threshold, budget], the first threshold none.
    What squares are over the square of the mean there is taken to hold at prices, too. `prompt`: mean prompt tokens.
    """
    spread = np.asarray(square)[:, 0] / np.asarray(unpriced)[:, 0] ** 2
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
        square=tokens**2 * np.stack([spread[:, j] for _, j in places], axis=1),
        prompt=prompt,
    )


def racing(
    width: WidthTables,
    alone: Array,
    *,
    classes: tuple[str, ...],
    longest: int,
    spread: Array,
    certified_only: bool,
    account: bool,
    own: bool,
) -> OperatingTables | None:
    """Returns the points at which thoughts race; None: there are none in use.

    `alone`: by class, the accuracy of the full thought, to which is added what races win over one thought of the
    questions that raced.
    `spread`: by class, mean squared token rows of the full thought over the square of their mean. It is taken to be
    that of each thought of a race, which has its share of the tokens and cells of its own.
    `account`: there is an account of risk, which uses what costs it nothing; `own`: it charges by class.
    """
    chosen = width.usable(free=account) if certified_only else list(range(len(width.rules)))
    if not chosen:
        return None
    tokens, widths = np.array(width.tokens)[:, chosen], np.array([width.rules[k].width for k in chosen])
    won = np.array(width.accuracy)[:, chosen] - np.array(width.alone)[:, None]
    return OperatingTables(
        classes=classes,
        points=tuple(OperatingPoint(threshold=None, budget=None, race=width.rules[k]) for k in chosen),
        tokens=tokens,
        accuracy=np.clip(alone[:, None] + won, 0.0, 1.0),
        p95_steps=np.array(width.p95_steps)[:, chosen],
        longest=longest,
        square=spread[:, None] * tokens**2 / widths,
        charges=Charges(of=np.zeros(won.shape), own=own) if account else None,
    )
