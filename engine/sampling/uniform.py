"""Philox4x64-10: random numbers that are a function of a key and a counter, without a generator's state.

The constants are those of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011). numpy's
Philox gives the same numbers; it takes three times as long to make one generator for each number.
"""

from __future__ import annotations

MASK = 2**64 - 1
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # what is added to the two words of the key in each round
ROUNDS = 10


def uniform(seed: int, position: int, *, again: bool = False) -> float:
    """A number in [0, 1), the first of numpy's `Philox(key=seed, counter=position)`; `again`: the second.

    Any integer is a seed; those that differ by 2^64 are one.
    """
    a, b, c, d = (position + 1) & MASK, 0, 0, 0
    low, high = seed & MASK, 0
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (second >> 64) ^ b ^ low, second & MASK, (first >> 64) ^ d ^ high, first & MASK
        low, high = (low + WEYL[0]) & MASK, (high + WEYL[1]) & MASK
    return float((b if again else a) >> 11) * 2.0**-53
