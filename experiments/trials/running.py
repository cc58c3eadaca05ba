"""Runs what is missing of an experiment: live trials one after the other, simulated ones on all cores."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from statistics import median
from typing import Any

from controller.policies import PolicyName
from experiments.provenance import commit, cores, processor
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend, Experiment
from experiments.trials.live import run_live
from experiments.trials.setting import Setting
from experiments.trials.simulated import simulation
from experiments.trials.speed import relative_speed
from experiments.trials.store import Store
from experiments.trials.trial import Trial
from laser.server_process import ServerError

Advance = Callable[[int], None]
Play = Callable[[Sequence[Trial]], list[list[RequestRecord]]]


def slowed(setting: Setting, store: Store, share: float) -> list[Trial]:
    """Complete live trials in which the machine had less than this share of its median speed under their workload.

    Others may have used it meanwhile: policies that ran at different speeds can't be compared. Of replies without a
    thought it cannot be told: next to nothing of them is decoding.
    """
    plant = setting.live_plant
    if plant is None:
        return []
    speeds = {
        trial: relative_speed(store.read(trial.slug, description), plant)
        for trial in setting.trials
        if trial.policy.policy is not PolicyName.NO_THINKING
        and store.has(trial.slug, description := setting.describe(trial))
    }
    return [
        trial
        for trial, speed in speeds.items()
        if speed < share * median(other for one, other in speeds.items() if one.workload == trial.workload)
    ]


def run_missing(setting: Setting, store: Store, *, jobs: int, advance: Advance, again: Collection[Trial] = ()) -> None:
    """Run every trial that is not complete; `advance` hears of requests done. Raises StoreError, ServerError.

    Those that are to be run `again` keep what they have until they are complete anew.
    """
    missing = [trial for trial in setting.trials if not _settled(setting, store, trial, again)]
    if setting.experiment.backend is Backend.LIVE:
        for trial in missing:
            _run_live(setting, store, trial, advance)
    elif missing:
        with workers(min(jobs, len(missing))) as pool:
            running = [pool.submit(_run_simulated, setting, store, trial) for trial in missing]
            for done in as_completed(running):
                advance(done.result())


def _run_live(setting: Setting, store: Store, trial: Trial, advance: Advance) -> None:
    with store.writing(trial.slug, setting.describe(trial), circumstances()) as draft:
        errors: list[str | None] = []

        def took(record: RequestRecord) -> None:
            draft.add(record)
            errors.append(record.error)
            advance(1)

        asked = setting.requests(trial)
        asyncio.run(run_live(setting.experiment, trial.policy, setting.questions(trial.seed), asked, took))
        if errors and None not in errors:
            raise ServerError(f"{trial.slug}: all {len(errors)} requests failed, the first with {errors[0]}")


def _run_simulated(setting: Setting, store: Store, trial: Trial) -> int:
    """In a process of its own; how many requests there were."""
    origin = circumstances()
    records = simulation(setting.experiment).play(trial)
    with store.writing(trial.slug, setting.describe(trial), origin) as draft:
        for record in records:
            draft.add(record)
    return len(records)


def player(setting: Setting, pool: Executor) -> Play:
    """Plays trials in the pool's processes, and keeps nothing of them."""

    def play(trials: Sequence[Trial]) -> list[list[RequestRecord]]:
        return list(pool.map(partial(_play, setting.experiment), trials))

    return play


def _play(experiment: Experiment, trial: Trial) -> list[RequestRecord]:
    return simulation(experiment).play(trial)


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Processes for simulated trials; what has not begun when the block fails is not begun any more."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a worker: it ends with the run, however that ends, and tells nothing of a solver that is not sure."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    # the next solver is asked then: nothing that a user must be told
    warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)


def _outlive_nobody() -> None:
    run = parent_process()
    assert run is not None, "a worker has a parent"
    wait([run.sentinel])
    os._exit(1)  # in the middle of a trial: what is written of it never counts


def counts(setting: Setting, store: Store, again: Collection[Trial] = ()) -> tuple[int, int]:
    """Requests of all trials, and of those that are complete and not to be run `again`."""
    total, done = 0, 0
    for trial in setting.trials:
        count = len(setting.requests(trial))
        total += count
        done += count * _settled(setting, store, trial, again)
    return total, done


def _settled(setting: Setting, store: Store, trial: Trial, again: Collection[Trial]) -> bool:
    """Whether a trial is complete, and is not to be run `again`."""
    return trial not in again and store.has(trial.slug, setting.describe(trial))


def circumstances() -> dict[str, Any]:
    """Where and when a trial begins."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": cores(),
        "load_average": list(os.getloadavg()),  # of other work: it slows wall clocks
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {name: version(name) for name in ("laser-serving", "torch", "numpy")},
    }
