"""Chooses the order that a profile keeps: head starts at the contest's loads, and beyond, on its records.

The policy is the one that serves by the contest. Its loads are shares of what full thoughts allow, and the exits allow
more; so the requests come once more at CROWDED times what the policy's own exits let the engine bear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from controller.policies.restricted import within_one_corner
from controller.serving.ordering.turns import ServingOrder
from experiments.progress import Reporter, Silent
from experiments.question import in_rounds
from experiments.request_record import RequestRecord
from experiments.simulation import orders
from experiments.simulation.contest import LOADS, QUESTIONS, SEED, Array, Player, play, quiet_solvers, safe_constant
from experiments.simulation.orders import MOST_P99, is_worth_it, order_point, tail_is_kept
from experiments.simulation.recording import Recording, read_recording
from experiments.table import Table, lines_of, texts
from models.chat_model import ChatModel
from models.profile.contest import CONSTANT, LOAD_AWARE
from models.profile.order import LoadOrders, OrderChoice, OrderPoint
from models.profile.profile import Profile, write_profile

REPLIES = tuple(one for one in orders.REPLIES if 5.0 <= one < math.inf)  # head starts, in full replies alone
CROWDED = 1.1  # of the capacity of the policy's own exits
REQUESTS = 1000  # at each load
WAITING = 0.01  # of the mean latency, that requests wait at least where an order is worth a simulation


def choose_order(
    profile: Profile, known: Recording, *, requests: int = REQUESTS, reporter: Reporter | None = None
) -> OrderChoice | None:
    """Simulates head starts on the profile's records and chooses one; None: no contest told which policy serves.

    All orders get the same `requests` questions at the same times, drawn by SEED. `reporter` None: nobody is told of
    the progress.
    """
    if profile.contest is None:
        return None
    reporter = Silent() if reporter is None else reporter
    player = _player(profile)
    shares = (*LOADS, CROWDED * _borne(profile, player) / profile.full_thought_rate)
    loads = []
    with quiet_solvers(), reporter.stage("Requests of simulated orders", len(shares) * requests) as advance:
        for number, share in enumerate(shares):
            loads.append(_orders(profile, known, player, share, np.random.default_rng([SEED, number]), requests))
            advance(requests)
    return OrderChoice(
        head_start_s=chosen(loads),
        policy=player.name,
        seed=SEED,
        requests=requests,
        most_p99=MOST_P99,
        loads=tuple(loads),
    )


def chosen(loads: Sequence[LoadOrders]) -> float:
    """Returns the head start with the least mean latency over that of first come, in the mean of the loads.

    At every load it is bounded, and its 99th percentile is at most MOST_P99 times first come's; at some load it saves
    LEAST_GAIN of the mean. 0: first come, which none of them is better than.
    """
    found = [(_mean_ratio(loads, head_start_s), head_start_s) for head_start_s in _allowed(loads)]
    return min([(1.0, 0.0), *found])[1]


def _allowed(loads: Sequence[LoadOrders]) -> Iterator[float]:
    for head_start_s in sorted({point.head_start_s for load in loads for point in load.points} - {0.0}):
        pairs = [(load.at(head_start_s), load.first_come) for load in loads]
        if all(tail_is_kept(*pair) for pair in pairs) and any(is_worth_it(*pair) for pair in pairs):
            yield head_start_s


def _mean_ratio(loads: Sequence[LoadOrders], head_start_s: float) -> float:
    return math.fsum(load.at(head_start_s).mean_s / load.first_come.mean_s for load in loads) / len(loads)


def _player(profile: Profile) -> Player:
    """Returns the policy that serves by the profile's contest."""
    if profile.contest is not None and profile.contest.worse:
        return Player(name=CONSTANT, point=safe_constant(profile))
    return Player(name=LOAD_AWARE, point=None)


def _borne(profile: Profile, player: Player) -> float:
    """Returns the requests/s that the engine can serve at the policy's exits, those that it takes under load."""
    tables = (within_one_corner(profile) if player.point is None else profile).tables()
    rows = np.average(tables.tokens, axis=0, weights=profile.counts)
    least = rows.min() if player.point is None else rows[tables.points.index(player.point)]
    return profile.plant_model().capacity / float(least)


def _orders(
    profile: Profile, known: Recording, player: Player, share: float, rng: np.random.Generator, requests: int
) -> LoadOrders:
    rate = share * profile.full_thought_rate
    arrivals: Array = np.cumsum(rng.exponential(1.0 / rate, requests))
    asked = in_rounds(len(known.questions), requests, rng).tolist()

    def served(order: ServingOrder) -> list[RequestRecord]:
        return play(player, profile, known, arrivals, asked, order=order)

    first = served(ServingOrder())
    waited_s = float(np.mean([record.queue_s for record in first]))
    points = [order_point(profile, first, ServingOrder())]
    if waited_s >= WAITING * points[0].mean_s:
        points += list(_points(profile, served))
    return LoadOrders(load=share, rate=rate, waited_s=waited_s, points=tuple(points))


def _points(profile: Profile, served: Callable[[ServingOrder], Sequence[RequestRecord]]) -> Iterator[OrderPoint]:
    for replies in REPLIES:
        order = ServingOrder.of(profile, head_start_s=replies * profile.reply_s)
        yield order_point(profile, served(order), order)


def add_order(
    chat: ChatModel,
    directory: Path,
    file: Path,
    *,
    files: Sequence[Path] = (),
    requests: int = REQUESTS,
    reporter: Reporter | None = None,
) -> Profile:
    """Chooses the order of the profile `file` on the records beside it; writes and returns the profile with it.

    Nothing is decoded, and nothing else of the profile changes. The other arguments are those of `read_recording`
    and `choose_order`.
    """
    profile, known = read_recording(chat, directory, file, files=files, most=QUESTIONS)
    return with_order(profile, known, file, requests=requests, reporter=reporter)


def with_order(
    profile: Profile, known: Recording, file: Path, *, requests: int = REQUESTS, reporter: Reporter | None = None
) -> Profile:
    """Chooses the order of a profile on its records, `known`; writes to `file` and returns the profile with it."""
    found = replace(profile, order=choose_order(profile, known, requests=requests, reporter=reporter))
    write_profile(file, found)
    return found


def order_table(choice: OrderChoice) -> str:
    """Returns the choice as text: what each head start did at each load, and which one is taken."""
    table = Table(
        title=f"Orders, simulated on the profile's records under {choice.policy}: {choice.requests} requests at each "
        f"load, seed {choice.seed}",
        header=("head start s", "of capacity", "requests/s", "latency s", "p99", "worst", "overtaken by s"),
        rows=tuple(_row(load, point) for load in choice.loads for point in load.points),
        note="A load at which hardly anybody waits is served in one order",
    )
    if choice.head_start_s:
        said = f"`laser serve` takes a head start of {choice.head_start_s:.2f} s: {choice.reason}"
    else:
        said = f"`laser serve` takes first come, first served: {choice.reason}"
    return "\n".join([*texts([table]), *lines_of([said])])


def _row(load: LoadOrders, point: OrderPoint) -> tuple[str, ...]:
    return (
        f"{point.head_start_s:.2f}",
        f"{load.load:.0%}",
        f"{load.rate:.3g}",
        *(f"{value:.2f}" for value in (point.mean_s, point.p99_s, point.worst_s, point.overtaken_s)),
    )
