"""What a demonstration has measured, in a few lines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from experiments.request_record import RequestRecord
from laser.demo import Demo, Phase
from laser.terminal.words import seconds, share, threshold


def table(demo: Demo) -> Table:
    """Latency, accuracy, thoughts and thresholds, phase by phase."""
    traffic = demo.traffic
    whole = Phase(name="all", begin_s=0.0, end_s=traffic.total_s)
    classes = list(dict.fromkeys(name for _, each in demo.thresholds for name in each))
    found = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    found.add_column("")
    for name in ("Requests", "Mean", "95 % below", "Right", "Thought tokens", *(f"Threshold {one}" for one in classes)):
        found.add_column(name, justify="right")
    for phase in (*traffic.phases, whole):
        records, thresholds = demo.measured(phase)
        found.add_row(phase.name, *_numbers(records), *(_reached(thresholds.get(name, [])) for name in classes))
    return found


def failures(demo: Demo) -> str:
    """What did not end well; empty: all did."""
    failed = [one.error for one in demo.records if one.error is not None]
    missing = demo.asked - len(demo.records)
    said = [f"{len(failed)} failed, the last: {failed[-1]}"] if failed else []
    if missing:
        said.append(f"{missing} of {demo.asked} requests had not been answered")
    return "; ".join(said)


def _numbers(records: Sequence[RequestRecord]) -> list[str]:
    served = [one for one in records if one.error is None]
    if not served:
        return [str(len(records)), "–", "–", "–", "–"]
    latencies = [one.latency_s for one in served]
    return [
        str(len(records)),
        seconds(statistics.mean(latencies)),
        seconds(float(np.quantile(latencies, 0.95))),
        share(statistics.mean(bool(one.right) for one in served)),
        f"{statistics.mean(one.thought_tokens for one in served):.0f}",
    ]


def _reached(values: Sequence[float | None]) -> str:
    """The range of thresholds; never probing is above all of them."""
    if not values:
        return "–"
    ordered = sorted(values, key=lambda value: np.inf if value is None else value)
    low, high = threshold(ordered[0]), threshold(ordered[-1])
    return low if low == high else f"{low} to {high}"
