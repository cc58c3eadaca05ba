"""A trial in simulation: the serving loop, the policy and its controller on recorded thoughts in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from controller.serving.ordering.turns import ServingOrder
from controller.settings import FixedSettings
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.calibration.traces import ThoughtTrace, TraceError
from experiments.evaluation.evaluation import Asked
from experiments.request_record import RequestRecord
from experiments.simulation.recording import Recording, read_calibration, recording
from experiments.simulation.simulation import check_budget, simulate, simulated_context
from experiments.synthetic.curves import Synthetic
from experiments.synthetic.reasoner import reasoner
from experiments.trials.experiment import Experiment
from experiments.trials.trial import Trial, requests
from models.chat_model import load_chat_model
from models.profile.profile import Profile

SURE, UNSURE = 0.0, -30.0  # log p of an oracle's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """An experiment's recorded model and its machine, ready for any of its trials."""

    experiment: Experiment
    profile: Profile
    recorded: Recording
    oracle: Recording | None  # `recorded` with the oracle's confidence in its probes; None: no policy is an oracle
    machine: Machine

    def play(self, trial: Trial) -> list[RequestRecord]:
        """Serves the trial's requests and returns their records."""
        clock = VirtualClock()
        settings = FixedSettings(trial.policy.controller)
        made = trial.policy.policy.make(
            simulated_context(self.profile, lambda _: settings, machine=self.machine, clock=clock)
        )
        asked = requests(self.experiment, trial, pool=len(self.recorded.questions))
        recorded = self.oracle if trial.policy.oracle else self.recorded
        assert recorded is not None, "an experiment with an oracle has what it sees"
        return simulate(
            recorded,
            asked.times,
            asked.questions.tolist(),
            machine=self.machine,
            clock=clock,
            policy=made.policy,
            observer=made.observer,
            order=ServingOrder.of(self.profile, head_start_s=math.inf if trial.policy.shortest_first else 0.0),
        )


@cache
def simulation(experiment: Experiment) -> Simulation:
    """Loads the experiment's simulation, once per process.

    Raises ProfileError or TraceError if the profile or the records are unusable or do not fit the experiment.
    """
    known = _calibrated(experiment) if experiment.synthetic is None else _synthetic(experiment.synthetic)
    if experiment.max_tokens not in (None, known.profile.max_tokens):
        raise TraceError(
            f"max_tokens is {experiment.max_tokens}, must be {known.profile.max_tokens} as in the calibration"
        )
    if experiment.max_batch > known.most:
        raise TraceError(
            f"max_batch is {experiment.max_batch}, must be at most {known.most}: more do not fit the machine's memory"
        )
    for policy in experiment.all_policies:
        check_budget(
            None if policy.limits is None else policy.limits.budget, known.profile, f"policy {policy.name!r} has budget"
        )
    oracle = None
    if any(policy.oracle for policy in experiment.policies):
        oracle = known.recording({number: _seen_by_oracle(one) for number, one in known.traces.items()})
    return Simulation(
        experiment=experiment,
        profile=known.profile,
        recorded=known.recording(known.traces),
        oracle=oracle,
        machine=replace(known.machine, max_batch=experiment.max_batch),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A profile, the traces behind it, and the machine."""

    profile: Profile
    traces: Mapping[int, ThoughtTrace]
    recording: Callable[[Mapping[int, ThoughtTrace]], Recording]  # of `traces`, or of others for the same questions
    machine: Machine
    most: float = math.inf  # largest batch that fits the machine's memory


def _calibrated(experiment: Experiment) -> _Known:
    """Loads the profile and the records that `laser calibrate` made of a model."""
    chat, files = load_chat_model(experiment.directory, experiment.thinking), experiment.questions.files
    found = read_calibration(
        chat,
        experiment.directory,
        experiment.profile_file,
        records=experiment.records_file,
        files=files,
        option="`questions`",
    )

    def recorded(traces: Mapping[int, ThoughtTrace]) -> Recording:
        return recording(chat, found.profile, replace(found.log, traces=dict(traces)), found.questions, files)

    return _Known(
        profile=found.profile,
        traces=found.log.traces,
        recording=recorded,
        machine=profiled_machine(found.profile),
    )


def _synthetic(which: Synthetic) -> _Known:
    """Makes a synthetic reasoner from published figures."""
    made = reasoner(which)
    return _Known(
        profile=made.profile,
        traces=made.thoughts.traces,
        recording=made.recording,
        machine=made.machine,
        most=made.profile.plant.max_batch,
    )


def _seen_by_oracle(one: ThoughtTrace) -> ThoughtTrace:
    return replace(one, probes=tuple(_known(probe) for probe in one.probes))


def _known(probe: Asked) -> Asked:
    """Returns the probe with confidence 1 if its answer is right, else next to 0."""
    log_probs = (SURE if probe.right else UNSURE,) * len(probe.log_probs)
    sure = float(probe.right)
    return replace(probe, confidence=sure, joint=sure, log_probs=log_probs)
