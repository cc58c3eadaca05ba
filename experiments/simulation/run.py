"""Simulates a load on a calibrated model: the real serving loop and policies in virtual time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from controller.policies.definition import Made, PolicySettings, constant_limits, levers_of
from controller.policies.load_aware import LoadAware
from controller.policies.none import FullThought
from controller.policy import Limits, keeper_of
from controller.risk.account import RiskStatus
from controller.risk.keeper import RiskKeeper
from controller.serving.ordering.turns import ServingOrder
from controller.settings import SettingsFile
from controller.unmet import unmet
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.progress import Reporter, Silent
from experiments.request_record import RequestRecord
from experiments.simulation.orders import OrderFront, order_front
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import SOLVE_S, check_budget, simulate, simulated_context
from experiments.workloads import Workload, WorkloadError
from models.chat_model import load_chat_model
from models.profile.lever import Lever
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """Which load is served, under which policy, from which calibration."""

    workload: Workload  # when requests arrive
    duration_s: float = 600.0  # virtual seconds in which they arrive
    seed: int = 0  # of arrivals and questions
    policy: PolicySettings = field(default_factory=LoadAware)
    controller: Path | None = None  # the controller's settings, YAML; None: the defaults
    solve_delay_s: float = SOLVE_S  # virtual seconds that the controller waits for a solution
    prefill_s: float | None = None  # what a prompt's token takes; None: what a probe's row does
    max_batch: int | None = None  # sequences decoded at once; None: the profile's
    head_start_s: float = 0.0  # see controller.serving.ordering.order; 0: first come, first served
    pauses: bool = False  # running thoughts pause for waiting requests that go before them
    model: Path | None = None  # a model's directory; None: the bundled one
    thinking: Path | None = None  # thinking format; None: the model's own
    profile: Path | None = None  # None: the model's
    records: Path | None = None  # what the calibration recorded; None: the file beside the profile
    files: tuple[Path, ...] = ()  # that the calibration's questions are from; (): the bundled benchmarks
    orders: bool = False  # whether the same requests are also served with other head starts
    compared: bool = False  # whether the same requests are also served with full thought, where the policy is another


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLoad:
    """How a load was served. All figures are simulated."""

    directory: Path  # the model's
    records: tuple[RequestRecord, ...]  # in order of arrival
    classes: tuple[str, ...]  # the profile's, easiest first
    rate: float  # requests/s that arrived
    full_thought_rate: float  # requests/s that the machine bears with full thought
    cpu_s: float  # that the simulation itself took
    orders: OrderFront | None = None  # of the same requests, without pauses; None: they were served in one order
    full_thought: tuple[RequestRecord, ...] | None = None  # the same requests with it; None: they were not served so
    account: RiskStatus | None = None  # of risk, at the end; None: the policy keeps none


def simulate_load(settings: SimulationSettings, *, reporter: Reporter | None = None) -> SimulatedLoad:
    """Serves a load in virtual time: the machine has the profile's step times, the model says what was recorded.

    `reporter` None: nobody is told of the progress. Raises a LaserError or an OSError if the model, its profile, its
    records, the questions or the controller's settings cannot be used, and WorkloadError if no request arrives.

    >>> from controller.policies.fixed import FixedThreshold
    >>> from experiments.simulation.run import SimulationSettings, simulate_load
    >>> from experiments.workloads import Poisson
    >>> fixed = FixedThreshold(threshold=0.9)
    >>> found = simulate_load(SimulationSettings(workload=Poisson(rate=2.0), duration_s=60.0, policy=fixed))
    >>> all(one.latency_s > 0.0 for one in found.records)
    True
    """
    reporter = Silent() if reporter is None else reporter
    directory = settings.model or bundled_model()
    profile, known = _calibration(settings, directory)
    machine = profiled_machine(profile, prefill_s=settings.prefill_s)
    if settings.max_batch is not None:
        machine = replace(machine, max_batch=settings.max_batch)
    rng = np.random.default_rng(settings.seed)
    arrivals = settings.workload.arrivals(settings.duration_s, rng)
    if not arrivals.size:
        raise WorkloadError(f"no request arrives within {settings.duration_s:g} s, must be at least 1")
    asked = rng.integers(len(known.questions), size=arrivals.size).tolist()

    served_in = ServingOrder.of(profile, head_start_s=settings.head_start_s, pauses=settings.pauses)

    def served(
        policy: PolicySettings, label: str, order: ServingOrder = served_in
    ) -> tuple[tuple[RequestRecord, ...], RiskStatus | None]:
        clock = VirtualClock()
        made = _made(policy, settings, profile, machine, clock)
        with reporter.stage(label, arrivals.size) as advance:
            records = simulate(
                known,
                arrivals,
                asked,
                machine=machine,
                clock=clock,
                policy=made.policy,
                observer=made.observer,
                order=order,
                on_done=lambda: advance(1),
            )
        keeper = keeper_of(made.policy)
        return tuple(records), keeper.status(0.0) if isinstance(keeper, RiskKeeper) else None

    started = time.process_time()
    records, account = served(settings.policy, "Requests")
    took = time.process_time() - started
    compared = settings.compared and not isinstance(settings.policy, FullThought)
    return SimulatedLoad(
        directory=directory,
        records=records,
        orders=order_front(profile, lambda order: served(settings.policy, "Requests in another order", order)[0])
        if settings.orders
        else None,
        full_thought=served(FullThought(), "Requests with full thought, to compare")[0] if compared else None,
        classes=profile.classes,
        rate=arrivals.size / settings.duration_s,
        full_thought_rate=replace(profile.plant_model(), max_batch=machine.max_batch).capacity
        / profile.full_thought_tokens,
        cpu_s=took,
        account=account,
    )


def _calibration(settings: SimulationSettings, directory: Path) -> tuple[Profile, Recording]:
    chat = load_chat_model(directory, settings.thinking)
    file = settings.profile or profile_of(directory)
    sampled = Lever.WIDTH in levers_of(settings.policy)
    profile, known = read_recording(
        chat, directory, file, records=settings.records, files=settings.files, sampled=sampled
    )
    check_budget((constant_limits(settings.policy) or Limits()).budget, profile)
    return profile, known


def _made(
    policy: PolicySettings, settings: SimulationSettings, profile: Profile, machine: Machine, clock: VirtualClock
) -> Made:
    context = simulated_context(
        profile,
        lambda usable: SettingsFile(settings.controller, len(usable.classes), partial(unmet, usable)),
        machine=machine,
        clock=clock,
        delay_s=settings.solve_delay_s,
    )
    return policy.make(context)
