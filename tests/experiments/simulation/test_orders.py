"""The front of orders: what is measured of each, which is chosen, and that pauses change nobody's reply."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from controller.controller import Controller
from controller.policies.load_aware import LoadAware
from controller.policy import FixedPolicy, Limits
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.request_record import RequestRecord
from experiments.simulation.orders import (
    LEAST_GAIN,
    MOST_P99,
    OrderFront,
    order_front,
    overtaken_s,
    told,
)
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import load_chat_model
from models.profile.order import OrderPoint
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model
from tests.support.request_records import record

POINT = OrderPoint(
    head_start_s=0.0, pauses=False, mean_s=10.0, p99_s=20.0, worst_s=30.0, worst_slowdown=4.0, overtaken_s=0.0
)
REQUESTS = 250
RISK, PEAK = 0.03, 0.1  # of an account


@pytest.fixture(scope="module")
def calibrated() -> tuple[Profile, Recording]:
    directory = bundled_model()
    return read_recording(load_chat_model(directory, None), directory, profile_of(directory), most=400)


def crowd(calibrated: tuple[Profile, Recording], order: ServingOrder, *, max_batch: int = 4) -> list[RequestRecord]:
    """The same requests at 1.5 times the capacity or so."""
    profile, known = calibrated
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(1.0 / 15.0, REQUESTS))
    return simulate(
        known,
        arrivals,
        rng.integers(len(known.questions), size=REQUESTS).tolist(),
        machine=replace(profiled_machine(profile), max_batch=max_batch),
        clock=VirtualClock(),
        policy=FixedPolicy(Limits(threshold=0.85)),
        order=order,
    )


def begun(*requests: tuple[float, float]) -> list[RequestRecord]:
    """Requests by their time of arrival and the time when they began."""
    return [replace(record(number), at_s=at_s, queue_s=at - at_s) for number, (at_s, at) in enumerate(requests)]


@pytest.mark.parametrize(
    ("requests", "overtaken"),
    [
        ([(0.0, 0.0), (1.0, 5.0), (2.0, 9.0)], 0.0),
        ([(0.0, 9.0), (1.0, 5.0), (3.0, 7.0)], 3.0),
        ([(0.0, 5.0), (4.0, 5.0)], 0.0),  # at the same time
        ([(0.0, 5.0), (4.0, 5.0), (2.0, 6.0)], 2.0),
    ],
)
def test_who_overtook_is_told_by_when_requests_came_and_began(
    requests: list[tuple[float, float]], overtaken: float
) -> None:
    assert overtaken_s(begun(*requests)) == overtaken


def test_the_least_mean_within_the_tail_is_chosen_and_none_without_a_bound() -> None:
    within = replace(POINT, head_start_s=5.0, mean_s=9.0, p99_s=20.0 * MOST_P99, overtaken_s=4.0)
    beyond = replace(POINT, head_start_s=9.0, mean_s=8.0, p99_s=20.1 * MOST_P99)
    unbounded = replace(within, head_start_s=math.inf, mean_s=7.0)
    broken = replace(within, mean_s=6.0, overtaken_s=5.1)
    front = OrderFront(points=(POINT, within, beyond, unbounded, broken))
    assert front.chosen == within
    assert "--head-start-s 5.00" in told(front)


def test_first_come_is_kept_where_little_is_to_be_gained() -> None:
    little = replace(POINT, head_start_s=5.0, mean_s=10.0 * (1.0 - LEAST_GAIN / 2.0))
    front = OrderFront(points=(POINT, little))
    assert front.chosen == POINT
    assert told(front).startswith("First come, first served")


def test_head_starts_lower_the_mean_of_a_crowd_and_keep_their_bound(calibrated: tuple[Profile, Recording]) -> None:
    front = order_front(calibrated[0], lambda order: crowd(calibrated, order))
    assert front.first_come.overtaken_s == 0.0
    assert [one.bounded for one in front.points] == [True] * (len(front.points) - 1) + [False]
    means = [one.mean_s for one in front.points]
    assert means[-1] < means[4] < means[0]
    assert front.chosen != front.first_come


def test_pauses_change_when_requests_end_and_nothing_else(calibrated: tuple[Profile, Recording]) -> None:
    head_start_s = 20.0
    served = {
        pauses: crowd(calibrated, ServingOrder.of(calibrated[0], head_start_s=head_start_s, pauses=pauses))
        for pauses in (False, True)
    }
    assert [one.latency_s for one in served[True]] != [one.latency_s for one in served[False]]
    for one, other in zip(served[True], served[False], strict=True):
        same = ("right", "rows", "completion_tokens", "thought_tokens", "probes", "exit_reason", "error")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
    assert overtaken_s(served[True]) <= head_start_s


@pytest.mark.parametrize("pauses", [False, True])
def test_with_an_account_of_risk_every_order_charges_each_request_once_and_keeps_its_bound(
    calibrated: tuple[Profile, Recording], pauses: bool
) -> None:
    profile, known = calibrated
    rng = np.random.default_rng(4)
    arrivals = np.cumsum(rng.exponential(1.0 / 15.0, REQUESTS))
    asked = rng.integers(len(known.questions), size=REQUESTS).tolist()
    machine = replace(profiled_machine(profile), max_batch=4)
    latencies = []
    for head_start_s in (0.0, 10.0):
        clock = VirtualClock()
        context = simulated_context(
            profile, lambda _: FixedSettings(ControllerSettings()), machine=machine, clock=clock
        )
        made = LoadAware(risk=RISK, risk_peak=PEAK).make(context)
        records = simulate(
            known, arrivals, asked, machine=machine, clock=clock, policy=made.policy, observer=made.observer,
            order=ServingOrder.of(profile, head_start_s=head_start_s, pauses=pauses and head_start_s > 0.0),
        )  # fmt: skip
        assert isinstance(made.policy, Controller)
        assert made.policy.keeper is not None
        account = made.policy.keeper.account
        assert account.requests == REQUESTS
        assert 0.0 < account.spent <= RISK * REQUESTS
        assert overtaken_s(records) <= head_start_s
        latencies.append([one.latency_s for one in records])
    assert latencies[0] != latencies[1]
