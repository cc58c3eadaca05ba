"""What a profile tells of the KV cells that a request holds: its prompt, and the squares by which they grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def prompt_tokens(context: float, counts: Sequence[int], tokens: npt.ArrayLike, square: npt.ArrayLike) -> float:
    """Returns the mean prompt tokens: what the mean cached tokens of full thoughts leave beside those of the thoughts.

    `context`: mean cached tokens of a sequence over full thoughts, Σ(p·W + W²/2)/ΣW. `counts`: questions by class;
    tables are [class, threshold, budget], of token rows and their squares.
    """
    full = np.asarray(counts, dtype=np.float64)
    rows, squared = (np.asarray(table, dtype=np.float64)[:, 0, 0] for table in (tokens, square))
    return max(0.0, context - float(full @ squared / (2.0 * full @ rows)))


def squares(tokens: Array, square: Array, places: Sequence[tuple[int, int, int]], at: Array) -> Array:
    """Returns the mean squared token rows [class, point] at places of a curve, a threshold and a budget.

    `at`: mean token rows [class, point] there. With a lower curve, the spread is taken to be that without one.
    """
    spread = np.stack([square[:, i, j] / tokens[:, i, j] ** 2 for _, i, j in places], axis=1)
    return np.asarray(at**2 * spread)
