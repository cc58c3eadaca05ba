"""Runs what is missing of an experiment: live trials one after the other, simulated ones on all cores."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from experiments.evaluation import Question
from experiments.provenance import processor
from experiments.questions import bundled_questions
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend, Experiment
from experiments.trials.live import run_live
from experiments.trials.store import Store
from experiments.trials.trial import QUESTION_SEEDS, Trial, described, requests, trials
from models.chat_model import load_chat_model
from models.profile import FILE_NAME, Profile, ProfileError, identify, read_profile
from models.reasoner import bundled_model

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Setting:
    """An experiment, and all that its trials share."""

    experiment: Experiment

    @cached_property
    def directory(self) -> Path:
        """The model's."""
        return self.experiment.model or bundled_model()

    @cached_property
    def profile(self) -> Profile | None:
        """The model's; None where it has none. Raises ProfileError for one of another model."""
        path = self.experiment.profile or self.directory / FILE_NAME
        if not path.exists() and self.experiment.profile is None:
            return None
        return read_profile(path, identify(self.directory, load_chat_model(self.directory).thinking.format))

    @cached_property
    def capacity(self) -> float | None:
        """Requests/s that the profile says can be served with full thought."""
        if self.profile is None:
            return None
        full = np.average(np.array(self.profile.tokens)[:, 0, 0], weights=self.profile.counts)
        return float(self.profile.queue().capacity / full)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All cells of the grid. Raises ValueError where two of them would share a file."""
        found = tuple(trials(self.experiment, self.capacity))
        slugs: dict[str, Trial] = {}
        for trial in found:
            other = slugs.setdefault(trial.slug, trial)
            if other is not trial:
                raise ValueError(
                    f"{trial.workload.name!r} with {trial.policy.name!r} and {other.workload.name!r} with "
                    f"{other.policy.name!r} would both be written to {trial.slug}.jsonl: rename one"
                )
        return found

    def questions(self, seed: int) -> list[Question]:
        """What is asked in trials of a seed."""
        return _questions(self.experiment.questions, QUESTION_SEEDS + seed)

    def describe(self, trial: Trial) -> dict[str, Any]:
        """What decides a trial's outcome."""
        one = self.experiment
        return {
            "backend": one.backend.value,
            "workload": described(trial.workload),
            "policy": described(trial.policy),
            "seed": trial.seed,
            "duration_s": one.duration_s,
            "questions": one.questions,
            "max_tokens": one.max_tokens,
            "max_batch": one.max_batch,
            **self._identity,
        }

    @cached_property
    def _identity(self) -> dict[str, Any]:
        identity = identify(self.directory, load_chat_model(self.directory).thinking.format)
        profile = None if self.profile is None else _sha256(self.experiment.profile or self.directory / FILE_NAME)
        records = None if self.experiment.records is None else _sha256(self.experiment.records)
        return {"weights_sha256": identity.weights_sha256, "profile_sha256": profile, "records_sha256": records}

    def check(self) -> None:
        """Raise ValueError now for what would fail a trial hours later."""
        for policy in self.experiment.all_policies:
            if self.profile is None and (policy.policy.needs_profile or policy.shortest_first):
                raise ProfileError(
                    f"policy {policy.name!r} needs a profile: {self.directory / FILE_NAME} does not exist; "
                    "`laser calibrate` measures it"
                )
        for trial in self.trials:
            self.requests(trial)

    def requests(self, trial: Trial) -> Any:
        """The trial's requests."""
        return requests(self.experiment, trial, len(self.questions(trial.seed)))


def run_missing(setting: Setting, store: Store, *, jobs: int, advance: Advance) -> None:
    """Run every trial that is not complete; `advance` hears of requests done. Raises StoreError, ServerError."""
    missing = [trial for trial in setting.trials if not store.has(trial.slug, setting.describe(trial))]
    if setting.experiment.backend is Backend.LIVE:
        for trial in missing:
            _run_live(setting, store, trial, advance)
    elif missing:
        _run_simulated(setting, store, missing, jobs, advance)


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


@cache
def _questions(count: int, seed: int) -> list[Question]:
    return bundled_questions(count, seed)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
