"""Runs an experiment's missing trials: live trials one after the other, simulated trials in parallel processes."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from statistics import median
from typing import Any

from controller.policy import Limits
from engine.registry import AUTO, chosen
from engine.registry import FIRST as GPU_ENGINE
from experiments.provenance import commit, cores, processor
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend, Experiment
from experiments.trials.live import run_live
from experiments.trials.setting import Setting
from experiments.trials.simulated import simulation
from experiments.trials.speed import relative_speed
from experiments.trials.store import Store
from experiments.trials.trial import Trial
from laser.server.config import BUNDLED_NAME, ServeConfig
from laser.server_process import ServerError
from models.foreign import hush
from models.hub.name import called

Advance = Callable[[int], None]
Play = Callable[[Sequence[Trial]], list[list[RequestRecord]]]


def slowed(setting: Setting, store: Store, share: float) -> list[Trial]:
    """Returns the complete live trials whose machine speed was below `share` of their workload's median speed.

    Other processes may have used the machine, and policies that ran at different speeds cannot be compared. Trials
    without thoughts are left out: their replies decode too little to measure speed. Empty in simulation or without a
    profile. Raises StoreError.
    """
    plant = setting.live_plant
    if plant is None:
        return []
    speeds = {
        trial: speed
        for trial in setting.trials
        if (trial.policy.limits or Limits()).budget != 0
        and store.has(trial.slug, description := setting.describe(trial))
        and (speed := relative_speed(store.read(trial.slug, description), plant)) is not None
    }
    return [
        trial
        for trial, speed in speeds.items()
        if speed < share * median(other for one, other in speeds.items() if one.workload == trial.workload)
    ]


def run_missing(setting: Setting, store: Store, *, jobs: int, advance: Advance, again: Collection[Trial] = ()) -> None:
    """Runs every trial that is incomplete or in `again`, and calls `advance` with the number of requests done.

    A trial in `again` keeps its old results until the new run is complete. Raises StoreError if stored results are of
    another experiment, and ServerError if a live server fails.
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
    with store.writing(trial.slug, setting.describe(trial), circumstances(setting)) as draft:
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
    """Runs a trial in a worker process and returns its number of requests."""
    origin = circumstances(setting)
    records = simulation(setting.experiment).play(trial)
    with store.writing(trial.slug, setting.describe(trial), origin) as draft:
        for record in records:
            draft.add(record)
    return len(records)


def player(setting: Setting, pool: Executor) -> Play:
    """Returns a function that plays trials in the pool's processes without storing their results."""

    def play(trials: Sequence[Trial]) -> list[list[RequestRecord]]:
        return list(pool.map(partial(_play, setting.experiment), trials))

    return play


def _play(experiment: Experiment, trial: Trial) -> list[RequestRecord]:
    return simulation(experiment).play(trial)


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Yields a pool of processes for simulated trials; if the block fails, trials that have not begun are cancelled.

    If a signal ends it, trials that have begun are ended too.
    """
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit):
        for child in active_children():
            child.terminate()  # a draft never counts
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Initialises a worker: the worker ends when the main process ends, and hides what libraries warn of."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    hush()


def _outlive_nobody() -> None:
    run = parent_process()
    assert run is not None, "a worker has a parent"
    wait([run.sentinel])
    os._exit(1)  # even in the middle of a trial: a draft never counts


def counts(setting: Setting, store: Store, again: Collection[Trial] = ()) -> tuple[int, int]:
    """Returns the number of requests of all trials, and of the complete trials that are not in `again`."""
    total, done = 0, 0
    for trial in setting.trials:
        count = len(setting.requests(trial))
        total += count
        done += count * _settled(setting, store, trial, again)
    return total, done


def at_once(setting: Setting, requests: int, *, jobs: int) -> int:
    """Returns how many of all `requests` are worked on together; a simulated trial tells of its own at its end."""
    if setting.experiment.backend is Backend.LIVE:
        return setting.experiment.max_batch
    return jobs * requests // len(setting.trials)


def _settled(setting: Setting, store: Store, trial: Trial, again: Collection[Trial]) -> bool:
    """Whether a trial is complete and not in `again`."""
    return trial not in again and store.has(trial.slug, setting.describe(trial))


def circumstances(setting: Setting) -> dict[str, Any]:
    """Returns the machine, date, versions, model and engine with which a trial begins."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": cores(),
        "load_average": list(os.getloadavg()),  # shows other work on the machine, which slows live trials
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {name: version(name) for name in ("laser-serving", "torch", "numpy")},
        "served": served(setting),
    }


def served(setting: Setting) -> dict[str, str]:
    """Returns what is served and by what, in words: model, engine and profile."""
    experiment, profile = setting.experiment, setting.profile
    made = {} if profile is None else profile.provenance
    where = f"{made.get('processor', 'an unknown machine')}, {_threads(made.get('threads'))}"
    measured = "none" if profile is None else f"measured {str(made.get('date', 'at an unknown date'))[:10]} on {where}"
    if experiment.synthetic is not None:
        name = experiment.synthetic.name
        return {"model": name, "engine": "simulated, with published step times", "profile": "made, not measured"}
    own = called(experiment.directory) if experiment.model is not None else f"{BUNDLED_NAME}, the bundled one"
    said = {"model": f"{own}; weights {setting.identity.weights_sha256[:8]}", "profile": measured}
    if experiment.backend is Backend.SIMULATED:
        engine = calibrated_engine(made.get("options") or {})
        return {**said, "engine": f"simulated, with the step times of engine {engine} on {where}"}
    kind = chosen(setting.directory) if experiment.engine.kind == AUTO else experiment.engine.kind
    device = "the GPU" if kind == GPU_ENGINE else "the CPU"
    options = "".join(f", {name} {value}" for name, value in experiment.engine.changed.items())
    threads = _threads(experiment.threads or ServeConfig().threads)
    return {**said, "engine": f"{kind} on {device}, {threads}, at most {experiment.max_batch} at once{options}"}


def calibrated_engine(options: Mapping[str, Any]) -> str:
    """Returns the engine that a profile's calibration was told to take; earlier releases called the option `kind`."""
    named = options.get("engine") or options.get("kind")
    return named if isinstance(named, str) else AUTO if "engine" in options else "unknown"


def _threads(count: object) -> str:
    return f"{count or 'unknown'} thread{'' if count == 1 else 's'}"
