"""An hour of calm, then a burst: what an account of risk gives over any constant, on the same requests.

    python -m benchmarks.risk.bursts --seeds 100,101 --out bursts.json

Load is .4 of the capacity in calm; the burst and the flash crowd are those of configs/experiments/simulated.yaml. All
is simulated on the bundled records. A constant does not remember, so it is simulated over the last 60 s of the calm and
the burst, and over the calm hour apart; ours serves one calm hour, which both bursts follow. A pair is compared over
the requests that arrive from the burst's start until the slower one of the two has its queue back: until nobody waits
any more. A constant whose bound, simultaneous with all others', is above the peak cannot be afforded by any account:
what is won and lost against those within the peak is told apart. In calm hardly anyone waits, so constants
are served first come there.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controller.controller import Controller
from controller.planning.objective import ObjectiveSettings
from controller.policies.definition import PolicySettings, certified_at
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.calibration.traces import run_questions
from experiments.request_record import RequestRecord
from experiments.simulation.levers_of_records import given_up
from experiments.simulation.recording import Recording, read_calibration, recording
from experiments.simulation.simulation import RecordedArrivals, serving_loop, simulated_context
from experiments.workloads import FlashCrowd, Poisson, Step, Workload
from models.chat_model import load_chat_model
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model

CALM_S = 3600.0
BEFORE_S = 60.0  # of calm that a constant is simulated over before the burst
AFTER_S = 200.0  # from the burst's start to the end, as in simulated.yaml
LOAD = 0.4  # of the capacity, in calm
MAX_BATCH = 32
CONSTANTS = "0.5/318,0.5/214,0.65,0.65/318,0.65/214,0.65/130,0.8/318,0.8/214"  # threshold, or threshold/budget
"""Of thresholds .5, .65, .8 and .9 with budgets none, 318, 214 and 130 the four best above the peak and the two best
within it, in each burst and order of seeds 1 and 2."""
CALM_CONSTANTS = "0.9,0.93,0.95"
WAYS = {"first come": 0.0, "shortest first": math.inf}  # head start, s

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The recorded model, its machine, and whose full thoughts are right."""

    profile: Profile
    recorded: Recording
    machine: Machine
    right: tuple[bool, ...]  # of each question's full thought

    @classmethod
    def bundled(cls, *, give_up: bool = False) -> Bench:
        """`give_up`: giving up is tabulated on the records."""
        directory = bundled_model()
        chat = load_chat_model(directory)
        found = read_calibration(chat, directory, profile_of(directory))
        profile = given_up(chat, found) if give_up else found.profile
        known = recording(chat, profile, found.log, found.questions)
        log = found.log.of(run_questions(found.questions, ()))
        machine = replace(profiled_machine(profile), max_batch=MAX_BATCH)
        right = tuple(log.traces[number].right for number in range(len(found.questions)))
        return cls(profile=profile, recorded=known, machine=machine, right=right)

    @property
    def calm_rate(self) -> float:
        """Requests/s in calm."""
        plant = replace(self.profile.plant_model(), max_batch=MAX_BATCH)
        return LOAD * plant.capacity / self.profile.full_thought_tokens

    @property
    def wait_worth(self) -> float:
        """Points of accuracy that a second of waiting costs, as the controller's objective has it."""
        return 100.0 * ObjectiveSettings().at(self.profile.reply_s).latency_weight


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRun:
    """The records of a run, and what its account says."""

    records: list[RequestRecord]
    account: dict[str, float]  # empty: there is none


class Server:
    """A policy that serves recorded requests in virtual time, piece by piece."""

    def __init__(
        self, bench: Bench, policy: PolicySettings, begins: float, *, head_start_s: float, pauses: bool = False,
        settings: ControllerSettings | None = None,
    ) -> None:  # fmt: skip
        """`begins`: time at which the queue is empty, s; `settings` None: the defaults."""
        clock, fixed = VirtualClock(), FixedSettings(settings or ControllerSettings())
        clock.now = begins
        made = policy.make(simulated_context(bench.profile, lambda _: fixed, machine=bench.machine, clock=clock))
        order = ServingOrder.of(bench.profile, head_start_s=head_start_s, pauses=pauses)
        loop = serving_loop(
            bench.recorded, machine=bench.machine, clock=clock, policy=made.policy, observer=made.observer, order=order
        )
        self._asking = RecordedArrivals(bench.recorded, loop, clock)
        self._policy = made.policy

    def ask(self, times: Times, questions: Sequence[int], until: float) -> None:
        """Serves arrivals up to the last one's, `until` when no further one comes."""
        self._asking.ask(times, questions, until=until)

    def rest(self) -> ServedRun:
        """Serves what has been asked to its end."""
        records, policy = self._asking.rest(), self._policy
        keeper = policy.keeper if isinstance(policy, Controller) else None
        if keeper is None:
            return ServedRun(records=records, account={})
        status = keeper.status(0.0)
        said = ("requests", "spent", "mean", "left", "most", "refused", "topped_up")
        return ServedRun(records=records, account={name: float(getattr(status, name)) for name in said})


def bursts(rate: float) -> dict[str, tuple[Workload, float]]:
    """Returns what follows the calm, and when in it the arrivals are back at `rate`, or next to it, s."""
    return {
        "burst": (Step(rate=rate, factor=5.0, at_s=0.0, until_s=40.0), 40.0),
        "flash crowd": (
            FlashCrowd(rate=rate, peak=6.0, at_s=0.0, rise_s=5.0, hold_s=20.0, decay_s=20.0),
            45.0,
        ),
    }


def back_s(records: Sequence[RequestRecord], since: float) -> float:
    """Returns the first time from `since` on at which no request waits."""
    at = since
    for one in sorted(records, key=lambda one: one.at_s):
        if one.at_s > at:
            break
        if one.queue_s > 1e-3:
            at = max(at, one.at_s + one.queue_s)
    return at


def utility(bench: Bench, records: Sequence[RequestRecord], since: float, until: float) -> float:
    """Returns 100·accuracy less what waiting costs, over the requests that arrive in a span of time."""
    mine = [one for one in records if since <= one.at_s < until]
    right = float(np.mean([one.right is True for one in mine]))
    return 100.0 * right - bench.wait_worth * float(np.mean([one.latency_s for one in mine]))


def harm(bench: Bench, records: Sequence[RequestRecord]) -> float:
    """Returns the share of requests whose full thought is right and whose reply is wrong."""
    return float(np.mean([bench.right[one.question] and one.right is False for one in records]))


def constant(name: str) -> FixedThreshold:
    """Returns the constant of a name: a threshold, or threshold/budget."""
    threshold, _, budget = name.partition("/")
    return FixedThreshold(threshold=float(threshold), budget=int(budget) if budget else None)


def bound(profile: Profile, name: str) -> float:
    """Returns a constant's bound as an account charges it: simultaneous with those of all others."""
    assert profile.harm is not None, "the profile is certified for an account"
    one = constant(name)
    return float(profile.harm.bounds[0, 0, profile.thresholds.index(one.threshold), profile.budgets.index(one.budget)])


def _within(profile: Profile, key: str, peak: float) -> bool:
    return bound(profile, key.split(",")[0]) <= peak


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstRequests:
    """When what is asked."""

    times: Times
    questions: list[int]

    def since(self, start: float) -> BurstRequests:
        """Those that come from a time on."""
        first = int(np.searchsorted(self.times, start))
        return BurstRequests(times=self.times[first:], questions=self.questions[first:])


def calm_of(bench: Bench, seed: int, calm_s: float) -> BurstRequests:
    """Returns the requests of the calm."""
    rng = np.random.default_rng(seed)
    times = Poisson(rate=bench.calm_rate).arrivals(calm_s, rng)
    return BurstRequests(times=times, questions=rng.integers(len(bench.right), size=times.size).tolist())


def burst_of(bench: Bench, seed: int, what: Workload, calm_s: float) -> BurstRequests:
    """Returns the requests of a burst that follows the calm."""
    times = calm_s + what.arrivals(AFTER_S, np.random.default_rng(seed + 1_000_000))
    asked = np.random.default_rng(seed + 2_000_000).integers(len(bench.right), size=times.size)
    return BurstRequests(times=times, questions=asked.tolist())


def one_seed(bench: Bench, seed: int, options: argparse.Namespace, settings: ControllerSettings) -> Iterator[Any]:
    """Yields the account's run against every constant's for each burst, which all follow the same calm."""
    calm_s, calm = options.calm, calm_of(bench, seed, options.calm)
    constants_calm = {
        name: served(bench, constant(name), calm, 0.0) for name in filter(None, options.calm_constants.split(","))
    }
    account = LoadAware(risk=options.risk, risk_peak=options.peak, give_up=options.give_up)
    ours = Server(
        bench, account, float(calm.times[0]), head_start_s=options.head_start, pauses=options.pauses, settings=settings
    )
    ours.ask(calm.times, calm.questions, until=calm_s)
    for name in options.bursts.split(","):
        what, ends = bursts(bench.calm_rate)[name]
        later = burst_of(bench, seed, what, calm_s)
        mine = apart(partial(_continued, ours, later))
        found: dict[str, Any] = {"burst": name, "seed": seed, "account": mine.account}
        found["harm"] = harm(bench, mine.records)
        found["calm"] = utility(bench, mine.records, 0.0, calm_s - BEFORE_S)
        found["calm_constants"] = {
            key: utility(bench, run.records, 0.0, calm_s - BEFORE_S) for key, run in constants_calm.items()
        }
        yield {**found, **_against(bench, mine, calm.since(calm_s - BEFORE_S), later, ends, options)}


def _continued(ours: Server, later: BurstRequests) -> ServedRun:
    ours.ask(later.times, later.questions, until=math.inf)
    return ours.rest()


def served(bench: Bench, policy: PolicySettings, asked: BurstRequests, head_start_s: float) -> ServedRun:
    """Serves requests from an empty queue on."""
    server = Server(bench, policy, float(asked.times[0]), head_start_s=head_start_s)
    server.ask(asked.times, asked.questions, until=math.inf)
    return server.rest()


def _against(
    bench: Bench, ours: ServedRun, before: BurstRequests, later: BurstRequests, ends: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns what the others' utility is over the burst, and what ours is on the same requests."""
    asked = BurstRequests(
        times=np.concatenate([before.times, later.times]), questions=[*before.questions, *later.questions]
    )
    others: dict[str, PolicySettings] = {name: constant(name) for name in options.constants.split(",")}
    if options.ways:
        others |= {"today": LoadAware(), "at peak": LoadAware(risk=options.peak)}
    start = options.calm
    mine = back_s(ours.records, start + ends)
    against, after = {}, {}
    for label, policy in others.items():
        for way, head_start_s in WAYS.items():
            theirs = served(bench, policy, asked, head_start_s)
            until = max(mine, back_s(theirs.records, start + ends))
            against[f"{label}, {way}"] = utility(bench, theirs.records, start, until)
            after[f"{label}, {way}"] = utility(bench, ours.records, start, until)
    return {"back_s": mine - start, "against": against, "after": after}


def apart(make: Callable[[], ServedRun]) -> ServedRun:
    """Returns what a call gives in a copy of this process, so that what it changes stays as it is here."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(make()))
    process.start()
    theirs.close()
    found: ServedRun = ours.recv()
    process.join()
    return found


def told(bench: Bench, one: dict[str, Any], peak: float) -> str:
    """Returns a run in words."""
    margins = {key: one["after"][key] - value for key, value in one["against"].items()}
    lines = [
        f"{one['burst']}, seed {one['seed']}: charged {one['account'].get('mean', 0.0):.2%}, harmed {one['harm']:.2%}, "
        f"queue back after {one['back_s']:.0f} s"
    ]
    for label, within in (("within the peak", True), ("above the peak", False)):
        for way in WAYS:
            some = {
                key: gain
                for key, gain in margins.items()
                if key[0].isdigit() and key.endswith(way) and _within(bench.profile, key, peak) is within
            }
            if some:
                least = min(some, key=lambda key: some[key])
                lines.append(f"  least margin over constants {label}: {some[least]:+.2f} over {least}")
    lines.append(f"  margins: {', '.join(f'{key} {gain:+.2f}' for key, gain in margins.items())}")
    lines.append(f"  account: {one['account']}")
    if one["calm_constants"]:
        best = max(one["calm_constants"], key=lambda key: one["calm_constants"][key])
        gain = one["calm"] - one["calm_constants"][best]
        lines.append(f"  calm: {one['calm']:.2f}, best constant {best} {one['calm'] - gain:.2f}: {gain:+.2f}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100", help="comma-separated; those below 100 are for choosing settings")
    parser.add_argument("--bursts", default="burst,flash crowd")
    parser.add_argument("--calm", type=float, default=CALM_S, help="seconds of calm")
    parser.add_argument("--calm-constants", default=CALM_CONSTANTS, help="first come, over the calm; empty: none")
    parser.add_argument("--constants", default=CONSTANTS, help="in the burst")
    parser.add_argument(
        "--ways", action="store_true", help="also the controller as it is, and all the time at the peak"
    )
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--peak", type=float, default=0.10)
    parser.add_argument(
        "--head-start", type=float, default=math.inf, help="of ours, s; 0: first come, inf: shortest first, in both of "
        "which the constants are served"
    )  # fmt: skip
    parser.add_argument("--pauses", action="store_true", help="in ours running thoughts pause for shorter ones")
    parser.add_argument("--give-up", action="store_true", help="ours gives hopeless thoughts up, too")
    parser.add_argument("--worth", type=float, help="of a unit of kept risk")
    parser.add_argument("--horizon", type=float, help="seconds that the savings must last for")
    parser.add_argument("--out", type=Path)
    return parser


def main() -> None:
    options = _parser().parse_args()
    settings = ControllerSettings()
    changed = {"worth": options.worth, "horizon_s": options.horizon}
    account = replace(settings.account, **{name: value for name, value in changed.items() if value is not None})
    settings = replace(settings, account=account)
    bench, found = Bench.bundled(give_up=options.give_up), []
    certified = replace(bench, profile=certified_at(bench.profile, options.risk, options.peak))
    for seed in map(int, options.seeds.split(",")):
        for one in one_seed(bench, seed, options, settings):
            found.append(one)
            print(told(certified, one, options.peak), flush=True)
            if options.out is not None:
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
