"""Formats simulated requests as text for the terminal, and writes them to a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from controller.risk.account import RiskStatus
from experiments.columns import ENDS, meanings
from experiments.provenance import Provenance
from experiments.request_record import RequestRecord
from experiments.sentences import costs, counted, percent, saves
from experiments.statistics import difference, proportion
from experiments.table import Table, lines_of, texts, wrapped
from models.files.replacement import replacing
from models.profile.difficulty import CLASSES

FORMAT = "laser-simulation"
VERSION = 1


def summary(
    records: Sequence[RequestRecord], classes: Sequence[str] = CLASSES, full: Sequence[RequestRecord] | None = None
) -> str:
    """Returns what the requests met, then latency, accuracy and costs by class and by benchmark, as text.

    `classes` is their order; needs at least one request. `full`: the same requests under full thought; None: there is
    nothing to compare with.
    """
    lead = [*([] if full is None else [against(records, full)]), verdict(records)]
    return "\n\n".join(["\n".join(lines_of(lead)), *texts(_tables(records, classes)), _ends(records)])


def against(records: Sequence[RequestRecord], full: Sequence[RequestRecord]) -> str:
    """Returns in one sentence what a policy changes against full thought, which served the same requests."""
    tokens, usual = (float(np.mean([one.rows for one in each])) for each in (records, full))
    right, before = (np.array([bool(one.right) for one in each], dtype=np.bool_) for each in (records, full))
    questions = [one.question for one in records]
    accuracy = costs(difference(before, right, np.random.default_rng(0), questions), len(set(questions)))
    told = f"Against full thought on the same arrivals it {saves(1.0 - tokens / usual)} and {accuracy}"
    now, then = _latencies(records), _latencies(full)
    if not (now.size and then.size):
        return f"{told}."
    return f"{told}; a reply takes {now.mean():.2f} s in the mean instead of {then.mean():.2f} s."


def verdict(records: Sequence[RequestRecord]) -> str:
    """Returns in one sentence how long people wait and how many are answered right."""
    right = proportion([bool(record.right) for record in records])
    failed = [record.error for record in records if record.error]
    latency = _latencies(records)
    waits = (
        "no request was served"
        if not latency.size
        else f"a reply takes {latency.mean():.2f} s in the mean, "
        f"one in twenty {np.percentile(latency, 95):.2f} s or more"
    )
    told = f"Of {counted(len(records), 'simulated request')} {percent(right.share)} are answered right; {waits}."
    return told + (f" {counted(len(failed), 'request')} failed, the first by {failed[0]}." if failed else "")


def charged(account: RiskStatus) -> str:
    """Returns in one sentence what an account of risk has charged, and what it has left."""
    held = counted(account.refused, "request")
    return (
        f"The account of risk charged {account.mean:.2%} a request, of {account.risk:.2%} that it may; "
        f"{account.left:.1f} of {account.most:.1f} are left to be spent, and {held} had to be held to stricter limits. "
        f"Running thoughts were charged again, for laxer limits, {counted(account.topped_up, 'time')}."
    )


def write_json(path: Path, records: Sequence[RequestRecord], origin: Provenance) -> None:
    """Writes all records with their provenance as JSON, whole or not at all."""
    said = {
        "format": FORMAT,
        "version": VERSION,
        "simulated": True,
        "provenance": asdict(origin),
        "records": [asdict(record) for record in records],
    }
    with replacing(path) as draft:
        draft.write_text(json.dumps(said, allow_nan=False) + "\n", encoding="utf-8")


def _tables(records: Sequence[RequestRecord], classes: Sequence[str]) -> Iterator[Table]:
    order = {name: place for place, name in enumerate(classes)}
    yield _table("By class", "class", records, lambda one: str(one.difficulty), order)
    yield _table("By benchmark", "benchmark", records, lambda one: one.benchmark, {})


def _table(
    title: str,
    head: str,
    records: Sequence[RequestRecord],
    key: Callable[[RequestRecord], str],
    order: dict[str, int],
) -> Table:
    """Returns a table of groups, those of `order` first and the others by name, and of all requests."""
    names = sorted({key(one) for one in records}, key=lambda name: (order.get(name, len(order)), name))
    groups = [(name, [one for one in records if key(one) == name]) for name in names]
    return Table(
        title=title,
        header=(
            head, "requests", "accuracy", "95 %", "latency s", "p50", "p95", "p99", "first answer s", "queue s",
            "tokens",
        ),
        rows=tuple(_row(name, members) for name, members in (*groups, ("all requests", list(records)))),
    )  # fmt: skip


def _row(name: str, records: Sequence[RequestRecord]) -> tuple[str, ...]:
    latency = _latencies(records) if _latencies(records).size else np.array([np.nan])
    answered = [record.first_answer_s for record in records if record.first_answer_s is not None]
    accuracy = proportion([bool(record.right) for record in records])
    return (
        name,
        str(len(records)),
        f"{accuracy.share:.1%}",
        f"{100 * accuracy.low:.1f}…{100 * accuracy.high:.1f}",
        *(f"{seconds:.2f}" for seconds in (latency.mean(), *np.percentile(latency, (50, 95, 99)))),
        f"{np.mean(answered):.2f}" if answered else "none",
        f"{np.mean([record.queue_s for record in records]):.2f}",
        f"{np.mean([record.rows for record in records]):.0f}",
    )


def _latencies(records: Sequence[RequestRecord]) -> npt.NDArray[np.float64]:
    """Returns the latencies of the requests that were served."""
    return np.array([record.latency_s for record in records if record.error is None], dtype=np.float64)


def _ends(records: Sequence[RequestRecord]) -> str:
    ends = Counter(record.exit_reason or "unended" for record in records)
    shares = ", ".join(f"{name} {count / len(records):.1%}" for name, count in ends.most_common())
    return "\n".join([f"thoughts ended: {shares}", *wrapped(meanings(ends, ENDS), indent="  ")])
