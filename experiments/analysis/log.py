"""A decision log as an analysis takes it: one run of time and of solves, over all restarts of the server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from controller.decision_log import LogError, read_decisions
from controller.decision_record import DecisionRecord


def read_log(path: Path, classes: Sequence[str]) -> list[DecisionRecord]:
    """Returns the decisions in a log and in its rotated files, oldest first.

    When the clock starts again because the server was restarted, times and numbers of solves continue from the last
    decision before. No time is negative: if the first one is, it becomes 0. Raises LogError if a file is unusable, or
    if there is no decision.
    """
    records: list[DecisionRecord] = []
    began_s, earlier, last_s = 0.0, 0, math.inf  # of the current server run: start, solves before it, last decision
    for record in read_decisions(path, len(classes)):
        if not records:
            began_s = max(0.0, -record.time_s)
        elif record.time_s < last_s:
            began_s, earlier = records[-1].time_s - record.time_s, max(one.solve or 0 for one in records)
        last_s = record.time_s
        solve = None if record.solve is None else record.solve + earlier
        records.append(replace(record, time_s=began_s + record.time_s, solve=solve))
    if not records:
        raise LogError(f"{path}: has no decisions")
    return records
