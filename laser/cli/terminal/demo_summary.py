"""Summary of what `laser demo` has measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.request_record import RequestRecord
from laser.cli.terminal.demo_traffic import FACTOR, Demo, Phase
from laser.cli.terminal.legend import legend
from laser.cli.terminal.words import gained, seconds, share, threshold

COLUMNS = {
    "requests": "how many of those that came in the phase have ended; a dash: none of them was answered",
    "mean latency": "from a request's arrival to its last token",
    "95 % below": "95 % of the replies took less than this",
    "right answers": "share of the replies with the right answer",
    "thought tokens": "mean length of a thought",
    "threshold": "how sure a trial answer had to be for its thought to be closed; by class: how long a thought "
    "the prompt will need; never: thoughts were not probed",
}
"""What the rows of the table mean."""


def show(demo: Demo, console: Console) -> None:
    """Prints what the demonstration has measured: what it means, the table, what its rows mean."""
    if said := failures(demo):
        console.print(f"{said}. What follows is of the others alone.", style="yellow", markup=False)
    console.print(meaning(demo))
    for line in gained(demo.gained):
        console.print(f"{line}.", markup=False)
    console.print(f"\nMeasured in this run (seed {demo.traffic.seed}):")
    console.print(table(demo))
    console.print("", legend(COLUMNS))


def meaning(demo: Demo) -> str:
    """Says in two sentences what the burst did to thoughts, replies and answers; of one that is cut off, that it is."""
    before, burst = ([one for one in demo.measured(phase)[0] if one.error is None] for phase in demo.traffic.phases[:2])
    if not before or not burst:
        return "It ended before there were replies of the calm and of the burst to compare."
    tokens, tokens_before = (statistics.mean(one.thought_tokens for one in each) for each in (burst, before))
    took, took_before = (statistics.mean(one.latency_s for one in each) for each in (burst, before))
    right, right_before = (statistics.mean(bool(one.right) for one in each) for each in (burst, before))
    change = tokens / tokens_before - 1.0 if tokens_before else 0.0
    how = (
        f"{share(abs(change))} {'shorter' if change < 0.0 else 'longer'} than" if abs(change) >= 0.01 else "as long as"
    )
    return (
        f"In the burst, with {FACTOR:g} times the requests, thoughts were {how} in the calm before; a reply took "
        f"{seconds(took)} in place of {seconds(took_before)}. {share(right)} of the answers in the burst were right, "
        f"{share(right_before)} before."
    )


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
