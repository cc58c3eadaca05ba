"""Runs what is missing of an experiment: live trials one after the other, simulated ones on all cores."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from experiments.provenance import processor
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend
from experiments.trials.live import run_live
from experiments.trials.setting import Setting
from experiments.trials.store import Store
from experiments.trials.trial import Trial

Advance = Callable[[int], None]


def run_missing(setting: Setting, store: Store, *, jobs: int, advance: Advance) -> None:
    """Run every trial that is not complete; `advance` hears of requests done. Raises StoreError, ServerError."""
    missing = [trial for trial in setting.trials if not store.has(trial.slug, setting.describe(trial))]
    if setting.experiment.backend is Backend.LIVE:
        for trial in missing:
            _run_live(setting, store, trial, advance)


def _run_live(setting: Setting, store: Store, trial: Trial, advance: Advance) -> None:
    with store.writing(trial.slug, setting.describe(trial), circumstances()) as draft:

        def took(record: RequestRecord) -> None:
            draft.add(record)
            advance(1)

        asked = setting.requests(trial)
        asyncio.run(run_live(setting.experiment, trial.policy, setting.questions(trial.seed), asked, took))


def counts(setting: Setting, store: Store) -> tuple[int, int]:
    """Requests of all trials, and of those that are complete."""
    total, done = 0, 0
    for trial in setting.trials:
        count = len(setting.requests(trial))
        total += count
        done += count * store.has(trial.slug, setting.describe(trial))
    return total, done


def circumstances() -> dict[str, Any]:
    """Where and when a trial begins."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load_average": list(os.getloadavg()),  # of other work: it slows wall clocks
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("laser-serving", "torch", "numpy")},
    }
