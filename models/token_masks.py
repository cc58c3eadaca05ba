"""Masks of a vocabulary's tokens, packed as llguidance has them: bit t % 32 of word t // 32 stands for token t."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Mask: TypeAlias = npt.NDArray[np.uint32]


def unpacked(mask: Mask, vocabulary: int) -> npt.NDArray[np.bool_]:
    """Returns for each of `vocabulary` tokens whether its bit is set; tokens without a bit are not allowed.

    Of masks (n, words), one below the other, returns (n, vocabulary).
    """
    bits = np.unpackbits(mask.astype("<u4", copy=False).view(np.uint8), axis=-1, bitorder="little")
    lacking = vocabulary - bits.shape[-1]
    if lacking > 0:
        bits = np.concatenate((bits, np.zeros((*bits.shape[:-1], lacking), np.uint8)), axis=-1)
    return bits[..., :vocabulary].view(np.bool_)


def packed(tokens: Iterable[int], vocabulary: int) -> Mask:
    """Returns the mask that allows `tokens` of a vocabulary."""
    bits = np.zeros(-(-vocabulary // 32) * 32, np.uint8)
    bits[list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32, copy=False)


def count(mask: Mask) -> int:
    """Returns how many tokens a mask allows."""
    return int(np.count_nonzero(np.unpackbits(mask.view(np.uint8)).view(np.bool_)))
