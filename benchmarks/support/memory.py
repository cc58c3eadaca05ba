"""Whether a process grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WARM_UP = 0.3  # of the requests: allocators and caches have reached their size by then


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """MiB by which memory grew after the warm-up: the median of the last third above that of the first.

    `samples` are (requests over, MiB), in order.
    """
    over = samples[-1][0]
    warm = [mebibytes for done, mebibytes in samples if done >= WARM_UP * over]
    third = max(1, len(warm) // 3)
    return float(np.median(warm[-third:]) - np.median(warm[:third]))
