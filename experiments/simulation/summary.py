"""Formats simulated requests as a table for the terminal, and writes them to a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.provenance import Provenance
from experiments.request_record import RequestRecord
from experiments.statistics import proportion
from models.files.replacement import replacing

FORMAT = "laser-simulation"
VERSION = 1


def summary(records: Sequence[RequestRecord]) -> str:
    """Returns latency, accuracy and costs as text: overall, by class and by benchmark; needs at least one request."""
    width = 2 + max(len("all requests"), *(len(name) for name, _ in _groups(records)))
    lines = [
        f"{'':<{width}}{'requests':>9}{'accuracy':>10}{'95 %':>14}{'latency: mean':>15}{'p50':>8}{'p95':>8}{'p99':>8}"
        f"{'first answer':>14}{'queue':>8}{'rows':>7}"
    ]
    lines += [_row(f"{name:<{width}}", members) for name, members in _groups(records)]
    ends = Counter(record.exit_reason or "unended" for record in records)
    lines += [
        "",
        "thoughts ended: " + ", ".join(f"{name} {count / len(records):.1%}" for name, count in ends.most_common()),
    ]
    failed = [record.error for record in records if record.error]
    if failed:
        lines.append(f"failed: {len(failed)}, the first by {failed[0]}")
    return "\n".join(lines)


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


def _groups(records: Sequence[RequestRecord]) -> Iterator[tuple[str, list[RequestRecord]]]:
    yield "all requests", list(records)
    for key in ("difficulty", "benchmark"):
        for value in sorted({str(getattr(record, key)) for record in records}):
            yield value, [record for record in records if str(getattr(record, key)) == value]


def _row(name: str, records: Sequence[RequestRecord]) -> str:
    served = [record for record in records if record.error is None]
    latency = np.array([record.latency_s for record in served]) if served else np.array([np.nan])
    p50, p95, p99 = np.percentile(latency, (50, 95, 99))
    answered = [record.first_answer_s for record in records if record.first_answer_s is not None]
    accuracy = proportion([bool(record.right) for record in records])
    first = f"{np.mean(answered):>12.2f} s" if answered else f"{'none':>14}"
    return (
        f"{name}{len(records):>9}{accuracy.share:>10.1%}{f'{accuracy.low:.1%}–{accuracy.high:.1%}':>14}"
        f"{latency.mean():>13.2f} s{p50:>8.2f}{p95:>8.2f}{p99:>8.2f}{first}"
        f"{np.mean([record.queue_s for record in records]):>8.2f}{np.mean([record.rows for record in records]):>7.0f}"
    )
