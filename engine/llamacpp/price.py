"""What a row costs: on a GPU nearly nothing beside others, on a CPU as much as a token of its own.

A probe adds rows to steps that happen anyway. With a thought's token at the price of 1, each of its rows costs between
0 (steps take as long with it as without) and 1 (steps take as long as their rows are many). From that follows how many
rows the probes of a thought may have for each of its tokens, if they are to take only a share of its time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.context import LlamaContext, Row
from engine.llamacpp.model import LlamaModel

MORE = 8  # rows that are added to one to see what they cost
REPEATS = 2  # of which the fastest counts: what else runs only ever slows a step
STEADY = 20  # prices are told in 1/20, so that two starts on one machine probe alike
BATCHES = (1, 8)  # running sequences for which the share is kept; with more, a row's price changes little


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPrice:
    """The time of a step as a function of its rows."""

    first_s: float  # of a step with one row
    more_s: float  # of each row more

    def relative(self, running: int) -> float:
        """Returns what one more row costs beside `running` rows, over what each of those costs; at most 1."""
        step = self.first_s + (running - 1) * self.more_s
        return min(1.0, running * self.more_s / step) if step > 0.0 else 1.0

    def probe_rows(self, share: float) -> float:
        """Returns the rows that probes may have for each token of a thought, to take at most `share` of its time."""
        price = math.ceil(max(self.relative(running) for running in BATCHES) * STEADY) / STEADY
        return share / (1.0 - share) / max(price, 1.0 / STEADY)


def row_price(model: LlamaModel, config: LlamaConfig) -> RowPrice:
    """Measures the time of a step with one row and with MORE besides, early in their sequences."""
    small = replace(config, cells=256, max_batch=MORE + 1, prefill_chunk=1)
    context = LlamaContext(model, small, ids=MORE + 1)
    sequences = [context.new() for _ in range(MORE + 1)]
    context.decode([Row(1, 0, (sequence,), True) for sequence in sequences])  # the first one warms up
    one, many = [], []
    for at in range(1, 2 * REPEATS + 1, 2):
        one.append(_timed(context, [Row(1, at, (sequences[0],), True)]))
        behind = [Row(1, (at + 1) // 2, (sequence,), True) for sequence in sequences[1:]]
        many.append(_timed(context, [Row(1, at + 1, (sequences[0],), True), *behind]))
    first = min(one)
    return RowPrice(first_s=first, more_s=max(0.0, (min(many) - first) / MORE))


def _timed(context: LlamaContext, rows: list[Row]) -> float:
    began = time.perf_counter()
    context.decode(rows)
    return time.perf_counter() - began
