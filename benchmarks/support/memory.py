"""Whether a process's memory grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WARM_UP = 0.3  # share of the requests by which allocators and caches have reached their size


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """Returns the MiB by which memory grew after the warm-up: median of the last third minus median of the first.

    `samples` are (requests over, MiB), in order.
    """
    over = samples[-1][0]
    warm = [mebibytes for done, mebibytes in samples if done >= WARM_UP * over]
    third = max(1, len(warm) // 3)
    return float(np.median(warm[-third:]) - np.median(warm[:third]))
