"""The facts that all trials of an experiment share: model, profile, questions, and the keys of a trial's outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from controller.planning.objective import Objective, ObjectiveSettings
from controller.policies.definition import PolicyContext
from controller.policy import Limits, QueueLengthObserver
from controller.unmet import unmet
from engine.base import CorruptModelError
from engine.options import CELLS
from engine.registry import AutoOptions
from experiments.evaluation.examination import chosen_questions
from experiments.question import Question
from experiments.synthetic.reasoner import reasoner
from experiments.trials.experiment import Backend, ClassSlo, Experiment, NamedPolicy, NamedWorkload
from experiments.trials.simulated import simulation
from experiments.trials.trial import QUESTION_SEEDS, Requests, Trial, described, drawing, requests, trials
from experiments.workloads import unseen
from models.chat_model import load_chat_model
from models.directory import check_place
from models.errors import Faults, faults_of
from models.profile.difficulty import CLASSES
from models.profile.identity import ModelIdentity, identify
from models.profile.plant import Plant
from models.profile.profile import Profile, checksum, profile_of, read_profile

PER_BENCHMARK = 200  # questions of live trials, where the experiment does not say
REPLIES = 5.0  # an SLO, in mean replies with full thought that have the engine to themselves
NO_PROFILE_SLO_S = 10.0  # what people wait for without turning to something else (Nielsen, Usability Engineering, 1993)


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
        return read_profile(path, self.identity)

    @cached_property
    def identity(self) -> ModelIdentity:
        """The model and its thinking format. Raises an error if the directory holds no model that can be served."""
        check_place(self.directory, CorruptModelError)
        return identify(self.directory, load_chat_model(self.directory, self.experiment.thinking).thinking.format)

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
    def slo(self) -> ClassSlo:
        """The SLO: the experiment's, by the profile REPLIES replies of each class, else NO_PROFILE_SLO_S."""
        if self.experiment.slo_s is not None:
            return self.experiment.slo_s
        if self.profile is None:
            return ClassSlo(**dict.fromkeys(CLASSES, NO_PROFILE_SLO_S))
        alone = self.profile.plant_model().rate(1)
        tokens = {name: table[0][0] for name, table in zip(self.profile.classes, self.profile.tokens, strict=True)}
        most = max(tokens.values())
        return ClassSlo(**{name: float(f"{REPLIES * tokens.get(name, most) / alone:.2g}") for name in CLASSES})

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All cells of the grid. Raises ValueError if rates are shares of the capacity and there is no profile."""
        return tuple(trials(self.experiment, self.capacity))

    def questions(self, seed: int) -> list[Question]:
        """Returns the questions of live trials with this seed. Raises QuestionError if a file cannot be used."""
        source = self.experiment.questions
        return _questions(source.files, source.count or PER_BENCHMARK, QUESTION_SEEDS + seed)

    def texts(self, seed: int) -> list[str] | None:
        """Returns the questions' texts of live trials with this seed; None: simulated, all seeds ask the same ones."""
        live = self.experiment.backend is Backend.LIVE
        return [question.text for question in self.questions(seed)] if live else None

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What comes again, ends early or never comes, and goals that nothing certified reaches."""
        one, by_name = self.experiment, {trial.workload.name: trial for trial in self.trials}
        short = [*self._unseen(), *self._unmet()]
        if not one.questions.files:
            return tuple(short)
        most, pool = max(len(self.requests(trial)) for trial in by_name.values()), self._pool(one.seeds[0])
        if most > pool:
            short.append(f"{pool} questions for up to {most} requests: they come round, {most / pool:.1f} times in all")
        return tuple(short)

    def _unseen(self) -> Iterator[str]:
        """What trials do not see of their workloads, with the seeds if it is not so for all."""
        seeds: dict[tuple[str, str], list[int]] = {}
        for name, trial in {(one.workload.name, one.seed): one for one in self.trials}.items():
            said = unseen(trial.workload.arrivals, self.experiment.duration_s, drawing(trial))
            if said is not None:
                seeds.setdefault((name[0], said), []).append(trial.seed)
        for (workload, said), some in seeds.items():
            which = "" if len(some) == len(self.experiment.seeds) else f" with seed {', '.join(map(str, some))}"
            yield f"workload {workload!r}{which}: {said}"

    def _unmet(self) -> Iterator[str]:
        """What policies are to reach, and nothing does that is certified at their risk and for their levers."""
        for one in self.experiment.policies:
            if self.profile is not None and one.has_controller:
                for usable in self._usable(one):
                    yield from (f"policy {one.name!r}: {said}" for said in unmet(usable, one.controller.objective))

    def _usable(self, one: NamedPolicy) -> list[Profile]:
        """Returns the profile that a policy makes its controller for; empty: it makes none, which `check` tells."""
        used: list[Profile] = []

        def controller(usable: Profile) -> _Idle:
            used.append(usable)
            return _Idle()

        with suppress(ValueError):
            one.policy.make(replace(self._context, controller=controller))
        return used

    def describe(self, trial: Trial) -> dict[str, Any]:
        """Returns all inputs that determine a trial's outcome, as JSON."""
        one = self.experiment
        opened = replace(one.engine, cells=one.engine.cells_taken)  # as stored trials tell it
        return {
            "backend": one.backend.value,
            "workload": _workload(trial.workload),
            "policy": _policy(trial.policy),
            "seed": trial.seed,
            "duration_s": one.duration_s,
            "questions": one.questions.count or PER_BENCHMARK,
            "questions_sha256": [_sha256(file) for file in one.questions.files] or None,
            "engine": None if opened == AutoOptions(cells=CELLS) else described(opened),
            "threads": one.threads,
            "max_tokens": one.max_tokens,
            "max_batch": one.max_batch,
            **self._identity,
        }

    @cached_property
    def _identity(self) -> dict[str, Any]:
        if self.experiment.synthetic is not None:
            made = reasoner(self.experiment.synthetic).profile
            return {"synthetic_sha256": made.model.weights_sha256, "profile_sha256": checksum(made)}
        profile = None if self.profile is None else _sha256(self.experiment.profile_file)
        simulated = self.experiment.backend is Backend.SIMULATED
        records = _sha256(self.experiment.records_file) if simulated else None
        named = self.experiment.thinking is not None or profile is None
        return {
            "weights_sha256": self.identity.weights_sha256,
            "thinking_sha256": self.identity.thinking_sha256 if named else None,
            "profile_sha256": profile,
            "records_sha256": records,
        }

    def check(self) -> None:
        """Raises Faults now, all of them at once, for settings that would fail a trial hours later."""
        if self.experiment.synthetic is None:
            _ = self.identity  # raises an error if there is no such model
        faults = [*self._unfit_policies()]
        try:
            found = self.trials
            for seed in self.experiment.seeds:
                self._pool(seed)
        except ValueError as error:
            raise Faults(*faults, *faults_of(error)) from error
        for trial in {(one.workload.name, one.seed): one for one in found}.values():
            try:
                times = self.requests(trial).times
            except ValueError as error:
                faults += faults_of(error)
                continue
            if not (times >= self.experiment.warmup_s).any():
                faults.append(
                    f"workload {trial.workload.name!r} with seed {trial.seed} brings {len(times)} requests, none of "
                    f"them after the warm-up of {self.experiment.warmup_s:g} s: at least one must count"
                )
        if faults:
            raise Faults(*dict.fromkeys(faults))

    def keyed(self, fault: str) -> str:
        """Returns a fault with the experiment's key in front that names the file or directory that it begins with."""
        one = self.experiment
        named = (
            *(("questions", file) for file in one.questions.files),
            ("records", one.records),
            ("profile", one.profile),
            ("thinking", one.thinking),
            ("model", one.model),
        )
        for key, path in named:
            if path is not None and fault.startswith((f"{path}:", f"{path}/")):
                return f"{key}: {fault}"
        return fault

    def _unfit_policies(self) -> Iterator[str]:
        """Why policies cannot serve this model."""
        policies = self.experiment.all_policies
        if self.profile is None and (lacking := [one for one in policies if one.needs_profile or one.shortest_first]):
            names = ", ".join(repr(one.name) for one in lacking)
            yield (
                f"{'policies' if len(lacking) > 1 else 'policy'} {names} need{'s' if len(lacking) == 1 else ''} a "
                f"profile: {profile_of(self.directory)} does not exist; `laser calibrate` measures it"
            )
            policies = tuple(one for one in policies if one not in lacking)
        for policy in policies:
            try:
                policy.policy.make(self._context)
                if self.profile is not None and policy.needs_profile:
                    policy.controller.check_classes(len(self.profile.classes))
            except ValueError as error:  # ProfileError is one
                yield from (f"policy {policy.name!r}: {fault}" for fault in faults_of(error))

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
    for name, default in (("unit", None), ("repeat", True)):  # stored trials from before these were there have none
        if said["arrivals"].get(name, ...) is default:
            del said["arrivals"][name]
    path: Path | None = getattr(workload.arrivals, "path", None)
    return said if path is None else said | {"file_sha256": _sha256(path)}


def _policy(policy: NamedPolicy) -> dict[str, Any]:
    """Describes a policy, without controller settings if the policy has no controller."""
    said: dict[str, Any] = described(policy)
    return said if policy.has_controller else {name: said[name] for name in said if name != "controller"}


@cache
def _questions(files: tuple[Path, ...], count: int, seed: int) -> list[Question]:
    return chosen_questions(files, count, seed)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
