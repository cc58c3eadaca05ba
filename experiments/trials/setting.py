"""The facts that all trials of an experiment share: model, profile, questions, and the keys of a trial's outcome."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from controller.planning.objective import Objective, ObjectiveSettings
from controller.policies.definition import PolicyContext
from controller.policy import Limits, QueueLengthObserver
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from experiments.synthetic.reasoner import reasoner
from experiments.trials.experiment import Backend, Experiment, NamedPolicy, NamedWorkload
from experiments.trials.simulated import simulation
from experiments.trials.trial import QUESTION_SEEDS, Requests, Trial, described, requests, trials
from models.chat_model import load_chat_model
from models.profile.plant import Plant
from models.profile.profile import FILE_NAME, Profile, ProfileError, checksum, identify, read_profile


@dataclass(frozen=True)
class Setting:
    """An experiment and the facts that its trials share."""

    experiment: Experiment

    @cached_property
    def directory(self) -> Path:
        """The model's directory."""
        return self.experiment.directory

    @cached_property
    def profile(self) -> Profile | None:
        """The model's profile; None: it has none. Raises ProfileError if the profile is of another model."""
        if self.experiment.synthetic is not None:
            return reasoner(self.experiment.synthetic).profile
        path = self.experiment.profile_file
        if not path.exists() and self.experiment.profile is None:
            return None
        return read_profile(path, identify(self.directory, load_chat_model(self.directory).thinking.format))

    @cached_property
    def capacity(self) -> float | None:
        """The requests/s that the profile's machine serves with full thought; None: there is no profile."""
        return None if self.profile is None else self.profile.full_thought_rate

    @cached_property
    def live_plant(self) -> Plant | None:
        """The profile's plant, the reference for live trials' machine speed; None: in simulation, or no profile."""
        live = self.experiment.backend is Backend.LIVE
        return self.profile.plant_model() if live and self.profile is not None else None

    @cached_property
    def latency_weight(self) -> float:
        """Correct answers that one second of one user's waiting costs: set by the experiment, else the controller's."""
        if self.experiment.latency_weight is not None:
            return self.experiment.latency_weight
        return (
            Objective().latency_weight
            if self.profile is None
            else ObjectiveSettings().at(self.profile.reply_s).latency_weight
        )

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All cells of the grid. Raises ValueError if rates are shares of the capacity and there is no profile."""
        return tuple(trials(self.experiment, self.capacity))

    def questions(self, seed: int) -> list[Question]:
        """Returns the questions of live trials with this seed."""
        return _questions(self.experiment.questions, QUESTION_SEEDS + seed)

    def describe(self, trial: Trial) -> dict[str, Any]:
        """Returns all inputs that determine a trial's outcome, as JSON."""
        one = self.experiment
        return {
            "backend": one.backend.value,
            "workload": _workload(trial.workload),
            "policy": _policy(trial.policy),
            "seed": trial.seed,
            "duration_s": one.duration_s,
            "questions": one.questions,
            "max_tokens": one.max_tokens,
            "max_batch": one.max_batch,
            **self._identity,
        }

    @cached_property
    def _identity(self) -> dict[str, Any]:
        if self.experiment.synthetic is not None:
            made = reasoner(self.experiment.synthetic).profile
            return {"synthetic_sha256": made.model.weights_sha256, "profile_sha256": checksum(made)}
        identity = identify(self.directory, load_chat_model(self.directory).thinking.format)
        profile = None if self.profile is None else _sha256(self.experiment.profile_file)
        simulated = self.experiment.backend is Backend.SIMULATED
        records = _sha256(self.experiment.records_file) if simulated else None
        return {"weights_sha256": identity.weights_sha256, "profile_sha256": profile, "records_sha256": records}

    def check(self) -> None:
        """Raises ValueError now for settings that would fail a trial hours later."""
        for policy in self.experiment.all_policies:
            if self.profile is None and (policy.needs_profile or policy.shortest_first):
                raise ProfileError(
                    f"policy {policy.name!r} needs a profile: {self.directory / FILE_NAME} does not exist; "
                    "`laser calibrate` measures it"
                )
            try:
                policy.policy.make(self._context)
                if self.profile is not None and policy.needs_profile:
                    policy.controller.check_classes(len(self.profile.classes))
            except ValueError as error:  # ProfileError is one
                raise ValueError(f"policy {policy.name!r}: {error}") from error
        for trial in self.trials:
            times = self.requests(trial).times
            if not (times >= self.experiment.warmup_s).any():
                raise ValueError(
                    f"workload {trial.workload.name!r} with seed {trial.seed} brings {len(times)} requests, none of "
                    f"them after the warm-up of {self.experiment.warmup_s:g} s: at least one must count"
                )

    @property
    def _context(self) -> PolicyContext:
        """What policies are made from; instead of the controller, a policy without limits."""
        max_batch = self.experiment.max_batch
        return PolicyContext(profile=self.profile, max_batch=max_batch, controller=lambda _: _Idle())

    def requests(self, trial: Trial) -> Requests:
        """Returns the trial's requests."""
        return requests(self.experiment, trial, self._pool(trial.seed))

    def _pool(self, seed: int) -> int:
        """Returns the number of questions that trials of a seed draw from."""
        if self.experiment.backend is Backend.SIMULATED:
            return len(simulation(self.experiment).recorded.questions)
        return len(self.questions(seed))


class _Idle(QueueLengthObserver):
    """A policy without limits, and its observer."""

    def limits(self, difficulty: str | None) -> Limits:
        return Limits()

    def tick(self, now: float, in_system: int) -> None:
        pass


def _workload(workload: NamedWorkload) -> dict[str, Any]:
    """Describes a workload, with a hash of its file of arrivals if it has one."""
    said: dict[str, Any] = described(workload)
    if said["arrivals"].get("unit", ...) is None:  # stored trials from before `unit` was there have none
        del said["arrivals"]["unit"]
    path: Path | None = getattr(workload.arrivals, "path", None)
    return said if path is None else said | {"file_sha256": _sha256(path)}


def _policy(policy: NamedPolicy) -> dict[str, Any]:
    """Describes a policy, without controller settings if the policy has no controller."""
    said: dict[str, Any] = described(policy)
    return said if policy.has_controller else {name: said[name] for name in said if name != "controller"}


@cache
def _questions(count: int, seed: int) -> list[Question]:
    return bundled_questions(count, seed)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
