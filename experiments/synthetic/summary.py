"""Figures of a synthetic reasoner, computed from its records, for comparison with the published figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.serving.trials import probe_spec
from experiments.calibration.grid import grid
from experiments.synthetic.reasoner import Reasoner
from experiments.table import Table, texts

THRESHOLD = 0.95  # of the published figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The figures of one benchmark."""

    benchmark: str
    tokens: float  # median of a reply with full thought
    full: float  # accuracy with full thought
    early: float  # accuracy with exits at the threshold
    saved: float  # share of the reply's tokens that exits save; probes are not deducted, as in the published figures
    net: float  # the same with probes deducted


def told(of: Reasoner, threshold: float = THRESHOLD) -> list[Told]:
    """Replays each benchmark with and without exits; returns the benchmarks in order of length."""
    traces = list(of.thoughts.traces.values())
    spec = probe_spec(of.vocabulary.thinking, of.vocabulary.stop_tokens)
    replayed = grid(traces, {}, [threshold], [], spec)
    right, steps, rows = replayed.right[:, :, 0], replayed.steps[:, :, 0], replayed.tokens[:, :, 0]
    found = []
    for name in sorted(set(of.thoughts.benchmarks)):
        mine = np.array(of.thoughts.benchmarks) == name
        found.append(
            Told(
                benchmark=name,
                tokens=float(np.median(steps[mine, 0])),
                full=float(right[mine, 0].mean()),
                early=float(right[mine, 1].mean()),
                saved=1.0 - float(steps[mine, 1].sum() / steps[mine, 0].sum()),
                net=1.0 - float(rows[mine, 1].sum() / rows[mine, 0].sum()),
            )
        )
    return sorted(found, key=lambda one: one.tokens)


def table(rows: list[Told]) -> str:
    """Formats the benchmarks' figures as a table for the terminal."""
    cells = tuple(
        (
            one.benchmark,
            f"{one.tokens:.0f}",
            f"{one.full:.1%}",
            f"{one.early:.1%}",
            f"{one.net:.0%}",
            f"{one.saved:.0%}",
        )
        for one in rows
    )
    header = ("benchmark", "reply tokens", "accuracy", "with exits", "saved", "gross")
    (formatted,) = texts([Table(title=f"Exits at {THRESHOLD}", header=header, rows=cells)])
    return formatted
