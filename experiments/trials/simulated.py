"""A trial in simulation: the serving loop, the policy and its controller on recorded thoughts and a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from controller.control import Controller
from controller.planner import Planner
from controller.registry import make_policy
from controller.settings import FixedSettings
from experiments.evaluation import Asked
from experiments.machine import Machine, VirtualClock, profiled_machine
from experiments.questions import bundled_questions
from experiments.recording import Recording, recording
from experiments.request_record import RequestRecord
from experiments.simulation import PunctualSolver, simulate
from experiments.traces import Trace, TraceError, read_records
from experiments.trials.experiment import Experiment
from experiments.trials.trial import Trial, requests
from models.chat_model import load_chat_model
from models.profile import FILE_NAME, Profile, identify, read_profile
from models.reasoner import bundled_model

SOLVE_S = 0.15  # virtual seconds from asking the solver to its answer, as of `laser simulate`
SURE, UNSURE = 0.0, -30.0  # log p of an oracle's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """An experiment's recorded model and its machine, ready for any of its trials."""

    experiment: Experiment
    profile: Profile
    recorded: Recording
    oracle: Recording  # the same, but each probe is sure exactly of what is right
    machine: Machine

    def play(self, trial: Trial) -> list[RequestRecord]:
        """The trial's requests, served."""
        clock = VirtualClock()
        made = make_policy(
            trial.policy.spec,
            self.profile,
            max_batch=self.machine.max_batch,
            controller=partial(_controller, trial, clock, self.machine.max_batch),
        )
        asked = requests(self.experiment, trial, pool=len(self.recorded.questions))
        return simulate(
            self.oracle if trial.policy.oracle else self.recorded,
            asked.times,
            asked.questions.tolist(),
            machine=self.machine,
            clock=clock,
            policy=made.policy,
            watcher=made.watcher,
            shortest_first=trial.policy.shortest_first,
        )


@cache
def simulation(experiment: Experiment) -> Simulation:
    """The experiment's, loaded once by each process. Raises ProfileError, TraceError."""
    assert experiment.records is not None, "a simulated experiment has records"
    directory = experiment.model or bundled_model()
    chat = load_chat_model(directory)
    profile = read_profile(experiment.profile or directory / FILE_NAME, identify(directory, chat.thinking.format))
    if experiment.max_tokens != profile.max_tokens:
        raise TraceError(f"max_tokens is {experiment.max_tokens}, must be {profile.max_tokens} as in the calibration")
    records = read_records(experiment.records)
    questions = bundled_questions(*_asked(profile.provenance["options"]))
    known = replace(records, traces={number: _seen_by_oracle(one) for number, one in records.traces.items()})
    return Simulation(
        experiment=experiment,
        profile=profile,
        recorded=recording(chat, profile, records, questions),
        oracle=recording(chat, profile, known, questions),
        machine=replace(profiled_machine(profile), max_batch=experiment.max_batch),
    )


def _controller(trial: Trial, clock: VirtualClock, max_batch: int, profile: Profile) -> Controller:
    planner = Planner(profile.quality(), clock=time.perf_counter)  # how long it really takes is only shown
    return Controller(
        profile,
        settings=FixedSettings(trial.policy.controller),
        solver=PunctualSolver(solve=planner, clock=clock, delay_s=SOLVE_S),
        max_batch=max_batch,
    )


def _asked(options: Mapping[str, Any]) -> tuple[int, int]:
    """How many questions of each bundled benchmark calibration has asked, and which."""
    if options.get("files"):
        raise TraceError(f"the profile is of the questions in {options['files'][0]}, must be of the bundled benchmarks")
    return int(options["count"]), int(options["seed"])


def _seen_by_oracle(one: Trace) -> Trace:
    return replace(one, probes=tuple(_known(probe) for probe in one.probes))


def _known(probe: Asked) -> Asked:
    """A probe whose confidence is 1 if its answer is right, else next to 0."""
    log_probs = (SURE if probe.right else UNSURE,) * len(probe.log_probs)
    sure = float(probe.right)
    return replace(probe, confidence=sure, joint=sure, log_probs=log_probs)
