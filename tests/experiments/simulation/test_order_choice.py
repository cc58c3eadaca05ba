"""The order that a profile keeps: which head start is chosen, and that its bound holds where it serves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from controller.policies.definition import constant
from controller.policy import Limits
from controller.serving.ordering.turns import ServingOrder
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.request_record import RequestRecord
from experiments.simulation.order_choice import CROWDED, REPLIES, add_order, choose_order, chosen, order_table
from experiments.simulation.orders import LEAST_GAIN, MOST_P99, overtaken_s
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import simulate
from models.chat_model import load_chat_model
from models.profile.contest import CONSTANT, LOAD_AWARE
from models.profile.order import LoadOrders, OrderChoice
from models.profile.profile import Profile, profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.contests import contest
from tests.support.orders import load, point

FIRST = (0.0, 10.0, 20.0)
REQUESTS = 120


@pytest.fixture(scope="module")
def bundled() -> tuple[Profile, Recording]:
    directory = bundled_model()
    return read_recording(load_chat_model(directory), directory, profile_of(directory), most=400)


def test_the_least_mean_over_the_loads_is_chosen_within_the_tail_at_every_one() -> None:
    quiet = load(0.5, (0.0, 1.0, 2.0))
    busy = load(1.2, FIRST, (5.0, 9.5, 20.0), (9.0, 9.0, 20.0 * MOST_P99), (20.0, 8.5, 20.1 * MOST_P99))
    crowded = load(1.7, FIRST, (5.0, 8.0, 22.0), (9.0, 7.0, 23.0), (20.0, 5.0, 23.5))
    assert chosen([quiet, busy, crowded]) == 9.0  # 20.0 is the best in the mean, and too late for some when busy
    assert chosen([quiet, crowded]) == 20.0


def test_no_head_start_is_chosen_that_saves_little_or_breaks_its_bound() -> None:
    assert chosen([load(1.2, FIRST, (5.0, 10.0 * (1.0 - LEAST_GAIN / 2.0), 20.0))]) == 0.0
    broken = LoadOrders(
        load=1.2, rate=12.0, waited_s=5.0, points=(point(*FIRST), point(5.0, 8.0, 20.0, overtaken_s=5.1))
    )
    assert chosen([broken]) == 0.0
    assert chosen([load(0.5, FIRST)]) == 0.0


def test_first_come_is_kept_where_the_mean_over_the_loads_is_the_better() -> None:
    loads = [load(1.2, FIRST, (5.0, 9.7, 20.0)), *(load(share, FIRST, (5.0, 10.8, 20.0)) for share in (0.9, 1.7))]
    assert chosen(loads[:1]) == 5.0
    assert chosen(loads) == 0.0


def test_of_head_starts_that_do_the_same_the_shortest_is_chosen() -> None:
    assert chosen([load(1.2, FIRST, (5.0, 8.0, 20.0), (9.0, 8.0, 20.0))]) == 5.0


@pytest.mark.slow
def test_all_orders_serve_the_contest_s_loads_and_one_beyond_the_exits_capacity(
    bundled: tuple[Profile, Recording],
) -> None:
    found = choose_order(*bundled, requests=REQUESTS)
    assert found is not None
    profile = bundled[0]
    assert found.policy == LOAD_AWARE
    assert [one.load for one in found.loads[:3]] == [0.5, 0.9, 1.2]
    rows = np.average(profile.tables().tokens, axis=0, weights=profile.counts)
    assert found.loads[3].rate == pytest.approx(CROWDED * profile.plant_model().capacity / rows.min())
    crowded = found.loads[3]
    assert [one.head_start_s for one in crowded.points] == [0.0, *(one * profile.reply_s for one in REPLIES)]
    assert all(one.bounded for one in crowded.points)
    assert len(found.loads[0].points) == 1  # nobody waits
    assert choose_order(*bundled, requests=REQUESTS) == found
    assert order_table(found).count("172%") == len(crowded.points)


@pytest.mark.slow
def test_the_constant_is_played_where_it_serves_and_nothing_without_a_contest(
    bundled: tuple[Profile, Recording],
) -> None:
    profile, known = bundled
    found = choose_order(replace(profile, contest=contest(0.1, -0.1)), known, requests=REQUESTS)
    assert found is not None
    assert found.policy == CONSTANT
    assert choose_order(replace(profile, contest=None), known) is None


@pytest.mark.slow
def test_nothing_but_the_order_is_added_to_the_profile(tmp_path: Path) -> None:
    source, file = profile_of(bundled_model()), tmp_path / "profile.json"
    records = source.with_name("profile.json.records.jsonl.xz")
    (tmp_path / records.name).symlink_to(records)
    before = replace(read_profile(source), order=None)
    write_profile(file, before)
    add_order(load_chat_model(bundled_model()), bundled_model(), file, requests=REQUESTS)
    found = read_profile(file)
    assert found.order is not None
    assert replace(found, order=None) == before


def test_the_bundled_profile_s_order_meets_what_it_was_chosen_for() -> None:
    kept = read_profile(profile_of(bundled_model())).order
    assert kept is not None
    assert kept.head_start_s == chosen(kept.loads)
    assert any(one.at(kept.head_start_s).mean_s <= 0.92 * one.first_come.mean_s for one in kept.loads)


def test_a_long_thought_is_served_however_many_short_ones_come(bundled: tuple[Profile, Recording]) -> None:
    """Short thoughts come for ever at more than the capacity; long ones that came among them begin within the bound."""
    profile, known = bundled
    rows = {
        number: len(known.model.thoughts[one.number].follow(()).tokens) for number, one in enumerate(known.questions)
    }
    by_length = sorted(rows, key=lambda number: known.questions[number].expected_tokens)
    short, longest = by_length[:50], by_length[-1]
    arrivals = np.arange(0.0, 12.0, 0.02)
    asked = [longest if number % 60 == 30 else short[number % len(short)] for number in range(arrivals.size)]

    def served(head_start_s: float) -> list[RequestRecord]:
        made = constant(Limits(threshold=0.9))
        return simulate(
            known, arrivals, asked, machine=replace(profiled_machine(profile), max_batch=2), clock=VirtualClock(),
            policy=made.policy, order=ServingOrder.of(profile, head_start_s=head_start_s),
        )  # fmt: skip

    head_start_s = 2.0
    first, ahead, shortest = served(0.0), served(head_start_s), served(1e6)
    long = [number for number, question in enumerate(asked) if question == longest]
    assert overtaken_s(ahead) <= head_start_s
    assert overtaken_s(shortest) > head_start_s
    behind = {name: max(_passed(each, number) for number in long) for name, each in (("H", ahead), ("∞", shortest))}
    assert behind["H"] <= head_start_s / 0.02
    assert behind["∞"] > behind["H"]
    assert np.mean([one.latency_s for one in ahead]) < np.mean([one.latency_s for one in first])


def _passed(records: list[RequestRecord], number: int) -> int:
    """How many that came later began before this one."""
    begun = records[number].at_s + records[number].queue_s
    return sum(one.at_s > records[number].at_s and one.at_s + one.queue_s < begun for one in records)


def test_a_choice_s_loads_are_told_from_the_lightest(bundled: tuple[Profile, Recording]) -> None:
    kept: OrderChoice | None = bundled[0].order
    assert kept is not None
    assert all(one.load < other.load for one, other in pairwise(kept.loads))
