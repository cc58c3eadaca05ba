"""Holds a profile's contest: the load-aware policy against constants, on the same requests in virtual time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from controller.planning.objective import ObjectiveSettings
from controller.policies.definition import Made, constant
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.policy import Limits
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.progress import Reporter, Silent
from experiments.question import in_rounds
from experiments.request_record import RequestRecord
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import simulate, simulated_context
from models.chat_model import ChatModel
from models.profile.contest import CONSTANT, FULL, LOAD_AWARE, LoadContest, PlayedPolicy, PolicyContest, constant_words
from models.profile.profile import Profile, write_profile
from models.profile.tables import OperatingPoint

LOADS = (0.5, 0.9, 1.2)  # of what the engine can serve with full thoughts
SEED = 0
QUESTIONS = 1000  # recorded ones that are asked at most: reading more takes longer than it tells
WARM = 0.2  # share of the requests that begin the run and do not count
STRETCHES = 8  # of a run, whose means tell how sure a difference is: requests after one another share queue and plan
SAME = 9  # digits of a gain, in correct answers; what is smaller comes of rounding
STRETCH_S = 5.0  # virtual seconds of a stretch at the least, …
STRETCH_REPLIES = 5.0  # … and so many times the seconds that a reply of the safe constant takes
FEWEST, MOST = 200, 4000  # requests at a load, whatever the length of a stretch
LONGEST_S = 300.0  # virtual seconds of a run of more than FEWEST: the controller plans every few of them
LEAST = math.ceil(STRETCHES / (1.0 - WARM))  # requests that leave no stretch empty
LEVEL = 0.95  # at which the intervals of all LOADS hold together
STABLE = 0.99  # of the capacity: demands above are counted as this one

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """A policy that takes part; `point` None: it is load-aware."""

    name: str
    point: OperatingPoint | None
    certified: bool = True


def hold_contest(
    profile: Profile, known: Recording, *, requests: int | None = None, reporter: Reporter | None = None
) -> PolicyContest | None:
    """Simulates the policies at LOADS on the profile's records; None: the profile certifies nothing to choose from.

    All policies get the same `requests` questions at the same times, drawn by SEED; None: `requests_for` tells how
    many. `reporter` None: nobody is told of the progress. Raises ValueError if `requests` is below LEAST.
    """
    if requests is not None and requests < LEAST:
        raise ValueError(f"requests is {requests}, must be at least {LEAST}: a run is told by {STRETCHES} stretches")
    if profile.refused is not None:
        return None
    reporter = Silent() if reporter is None else reporter
    safe = safe_constant(profile)
    players = list(_players(profile, safe))
    rates = [load * profile.full_thought_rate for load in LOADS]
    requests = requests_for(profile, safe) if requests is None else requests
    weight = ObjectiveSettings().at(profile.reply_s).latency_weight
    loads = []
    with (
        quiet_solvers(),
        reporter.stage("Requests of simulated policies", len(LOADS) * len(players) * requests) as advance,
    ):
        for number, (load, rate) in enumerate(zip(LOADS, rates, strict=True)):
            rng = np.random.default_rng([SEED, number])
            arrivals = np.cumsum(rng.exponential(1.0 / rate, requests))
            asked = in_rounds(len(known.questions), requests, rng).tolist()
            served = {
                one.name: play(one, profile, known, arrivals, asked, on_done=lambda: advance(1)) for one in players
            }
            loads.append(load_contest(load, rate, players, served, weight))
    return PolicyContest(
        seed=SEED,
        requests=requests,
        latency_weight=weight,
        threshold=safe.threshold,
        budget=safe.budget,
        loads=tuple(loads),
    )


@contextmanager
def quiet_solvers() -> Iterator[None]:
    """Leaves out that a solution is inaccurate: the next solver is tried then, so that is no news to users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
        yield


def add_contest(
    chat: ChatModel,
    directory: Path,
    file: Path,
    *,
    files: Sequence[Path] = (),
    requests: int | None = None,
    reporter: Reporter | None = None,
) -> Profile:
    """Holds the contest of the profile `file` on the records beside it; writes and returns the profile with it.

    Nothing is decoded, and nothing else of the profile changes. The other arguments are those of `read_recording`
    and `hold_contest`.
    """
    profile, known = read_recording(chat, directory, file, files=files, most=QUESTIONS)
    return with_contest(profile, known, file, requests=requests, reporter=reporter)


def with_contest(
    profile: Profile,
    known: Recording,
    file: Path,
    *,
    requests: int | None = None,
    reporter: Reporter | None = None,
) -> Profile:
    """Holds the contest of a profile on its records, `known`; writes to `file` and returns the profile with it."""
    found = replace(profile, contest=hold_contest(profile, known, requests=requests, reporter=reporter))
    write_profile(file, found)
    return found


def requests_for(profile: Profile, safe: OperatingPoint) -> int:
    """Returns how many requests a run needs at each load for stretches that are long enough at the heaviest one."""
    lightest, heaviest = (load * profile.full_thought_rate for load in (LOADS[0], LOADS[-1]))
    reply_s = float(_latencies(profile, heaviest)[profile.points().index(safe)])
    enough = STRETCHES * max(STRETCH_S, STRETCH_REPLIES * reply_s) * heaviest / (1.0 - WARM)
    return min(MOST, max(FEWEST, math.ceil(min(enough, LONGEST_S * lightest))))


def safe_constant(profile: Profile) -> OperatingPoint:
    """Returns the certified point that is best for every thought at all LOADS, by the tables and the plant."""
    tables = profile.tables()
    shares = np.array(profile.counts, dtype=np.float64) / sum(profile.counts)
    weight = ObjectiveSettings().at(profile.reply_s).latency_weight
    worth = np.zeros(len(tables.points))
    for load in LOADS:
        worth += shares @ tables.accuracy - weight * _latencies(profile, load * profile.full_thought_rate)
    return tables.points[int(worth.argmax())]


def _latencies(profile: Profile, rate: float) -> Array:
    """Returns the mean latency in s of each certified point at `rate` requests/s, by the tables and the plant."""
    plant = profile.plant_model()
    shares = np.array(profile.counts, dtype=np.float64) / sum(profile.counts)
    asked = rate * (shares @ profile.tables().tokens)
    demand = np.minimum(asked, STABLE * plant.capacity)
    over = np.maximum(asked / plant.capacity - STABLE, 0.0)
    # an overloaded run waits the longer, the more its demand exceeds the capacity
    return np.array([plant.latency(float(one), rate) for one in demand]) * (1.0 + over)


def _players(profile: Profile, safe: OperatingPoint) -> Iterator[Player]:
    """Yields the policies that take part: those to choose from, and what they are measured by."""
    yield Player(name=FULL, point=OperatingPoint(threshold=None, budget=None))
    yield Player(name=CONSTANT, point=safe)
    yield Player(name=LOAD_AWARE, point=None)
    usual = OperatingPoint(threshold=FixedThreshold().threshold, budget=None)  # serves a model without a profile
    if usual != safe:
        name = constant_words(usual.threshold, usual.budget)
        yield Player(name=name, point=usual, certified=usual in profile.points())


def play(
    one: Player,
    profile: Profile,
    known: Recording,
    arrivals: Array,
    asked: list[int],
    *,
    on_done: Callable[[], None] = lambda: None,
    order: ServingOrder | None = None,
) -> list[RequestRecord]:
    """Serves these questions at these times under a policy on the profile's machine; `order` None: as they come."""
    machine, clock = profiled_machine(profile), VirtualClock()
    made = _made(one, profile, machine, clock)
    return simulate(
        known,
        arrivals,
        asked,
        machine=machine,
        clock=clock,
        policy=made.policy,
        observer=made.observer,
        order=order,
        on_done=on_done,
    )


def _made(one: Player, profile: Profile, machine: Machine, clock: VirtualClock) -> Made:
    if one.point is not None:
        return constant(Limits(threshold=one.point.threshold, budget=one.point.budget))
    settings = FixedSettings(ControllerSettings())
    return LoadAware().make(simulated_context(profile, lambda _: settings, machine=machine, clock=clock))


def load_contest(
    load: float, rate: float, players: list[Player], served: dict[str, list[RequestRecord]], weight: float
) -> LoadContest:
    """Returns how the players `served` a load, by name; `weight`: correct answers that a second of waiting costs."""
    counted = {name: records[round(WARM * len(records)) :] for name, records in served.items()}
    gain, width = (
        round(one, SAME) + 0.0
        for one in gain_of(_worth(counted[LOAD_AWARE], weight) - _worth(counted[CONSTANT], weight))
    )
    return LoadContest(
        load=load,
        rate=rate,
        played=tuple(_played(one, counted[one.name]) for one in players),
        gain=gain,
        low=gain - width,
        high=gain + width,
    )


def gain_of(gains: Array) -> tuple[float, float]:
    """Returns the mean gain of requests in order of arrival, and half the width of its interval.

    Student's t over the means of STRETCHES equal stretches, at a level at which LOADS intervals hold together with
    LEVEL (Bonferroni).
    """
    from scipy.special import stdtrit

    means = np.array([stretch.mean() for stretch in np.array_split(gains, STRETCHES)])
    student = float(stdtrit(STRETCHES - 1, 1.0 - (1.0 - LEVEL) / (2 * len(LOADS))))
    return float(gains.mean()), student * float(means.std(ddof=1)) / math.sqrt(STRETCHES)


def _worth(records: list[RequestRecord], weight: float) -> Array:
    """Returns what each request was worth, in correct answers."""
    return np.array([bool(record.right) - weight * record.latency_s for record in records])


def _played(one: Player, records: list[RequestRecord]) -> PlayedPolicy:
    latency = np.array([record.latency_s for record in records])
    return PlayedPolicy(
        name=one.name,
        threshold=None if one.point is None else one.point.threshold,
        budget=None if one.point is None else one.point.budget,
        certified=one.certified,
        latency_s=float(latency.mean()),
        p95_s=float(np.percentile(latency, 95)),
        accuracy=float(np.mean([bool(record.right) for record in records])),
        tokens=float(np.mean([record.rows for record in records])),
    )
