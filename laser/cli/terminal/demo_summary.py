"""Summary of what `laser demo` has measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from experiments.request_record import RequestRecord
from laser.cli.demo_traffic import Demo, Phase
from laser.cli.terminal.words import seconds, share, threshold


def table(demo: Demo) -> Table:
    """Returns a table of latency, accuracy, thought lengths and thresholds by phase."""
    whole = Phase(name="all", begin_s=0.0, end_s=demo.traffic.total_s)
    classes = list(dict.fromkeys(name for _, each in demo.thresholds for name in each))
    rows = ["requests", "mean latency", "95 % below", "right answers", "thought tokens"]
    rows += [f"threshold, {name}" for name in classes]
    found = Table(box=None, padding=(0, 2, 0, 0))
    found.add_column("", style="dim")
    columns = [rows]
    for phase in (*demo.traffic.phases, whole):
        found.add_column(phase.name, justify="right", no_wrap=True)
        records, thresholds = demo.measured(phase)
        columns.append([*_numbers(records), *(_reached(thresholds.get(name, [])) for name in classes)])
    for row in zip(*columns, strict=True):
        found.add_row(*map(Text, row))
    return found


def failures(demo: Demo) -> str:
    """Describes failed and unanswered requests; empty: there are none."""
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
    """Formats the range of `values`; None, never probed, is above all of them."""
    if not values:
        return "–"
    ordered = sorted(values, key=lambda value: np.inf if value is None else value)
    low, high = threshold(ordered[0]), threshold(ordered[-1])
    return low if low == high else f"{low} to {high}"
