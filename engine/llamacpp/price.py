"""What a row costs: on a GPU nearly nothing beside others, on a CPU as much as a token of its own.

A probe adds rows to steps that happen anyway. With a thought's token at the price of 1, each of its rows costs between
0 (steps take as long with it as without) and more than 1: llama.cpp plans its computation anew whenever a step has
another number of rows than the last, which a probe makes happen a few times. From the price follows how many rows the
probes of a thought may have for each of its tokens, if they are to take only a share of its time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.model import LlamaModel

MORE = 8  # rows that are added to one to see what they cost
REPEATS = 3  # of which the fastest counts: what else runs only ever slows a step
SLOW_S = 0.2  # a step of 1 + MORE rows that takes longer is measured once
CHANGES, PROBE = 3, 10  # how often a probe changes the number of rows, and the rows of a usual one
STEADY = 20  # prices are told in 1/20, so that two starts on one machine probe alike
BATCHES = (1, 8)  # running sequences for which the share is kept; with more, a row's price changes little


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPrice:
    """The time of a step as a function of its rows."""

    first_s: float  # of a step with one row
    more_s: float  # of each row more
    change_s: float = 0.0  # of a step with another number of rows than the one before it, more than of others

    def relative(self, running: int) -> float:
        """Returns what a probe's row costs beside `running` rows, over what each of those costs."""
        step = self.first_s + (running - 1) * self.more_s
        return running * (self.more_s + self.change_s * CHANGES / PROBE) / step

    def probe_rows(self, share: float) -> float:
        """Returns the rows that probes may have for each token of a thought, to take at most `share` of its time."""
        price = math.ceil(max(self.relative(running) for running in BATCHES) * STEADY) / STEADY
        return share / (1.0 - share) / max(price, 1.0 / STEADY)


def row_price(model: LlamaModel, config: LlamaConfig) -> RowPrice:
    """Measures the time of a step with one row and with MORE besides, early in their sequences."""
    small = replace(config, cells=256, max_batch=MORE + 1, prefill_chunk=1)
    trial = _Trial(LlamaContext(model, small, ids=MORE + 1))
    warm = trial.timed(1 + MORE)
    one, changed, many = [], [], []
    for _ in range(1 if warm > SLOW_S else REPEATS):
        trial.timed(1)
        one.append(trial.timed(1))
        changed.append(trial.timed(1 + MORE))
        many.append(trial.timed(1 + MORE))
    first, whole = min(one), min(many)
    return RowPrice(first_s=first, more_s=max(0.0, (whole - first) / MORE), change_s=max(0.0, min(changed) - whole))


class _Trial:
    """Sequences that grow by a token whenever they are asked to."""

    def __init__(self, context: LlamaContext) -> None:
        self._context = context
        self._lengths = {context.new(): 0 for _ in range(MORE + 1)}

    def timed(self, rows: int) -> float:
        """Decodes a token of `rows` sequences. Returns the seconds that it takes."""
        due = [TokenRow(1, at, (sequence,), True) for sequence, at in list(self._lengths.items())[:rows]]
        for row in due:
            self._lengths[row.sequences[0]] += 1
        began = time.perf_counter()
        self._context.decode(due)
        return time.perf_counter() - began
