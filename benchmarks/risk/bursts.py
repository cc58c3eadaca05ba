"""An hour of calm, then a burst: what an account of risk gives over any constant, on the same requests.

    python -m benchmarks.risk.bursts --seeds 100,101 --out bursts.json

Load is .4 of the capacity in calm; the burst and the flash crowd are those of configs/experiments/simulated.yaml. All
is simulated on the bundled records. A constant does not remember, so it is simulated over the last 60 s of the calm and
the burst, and over the calm hour apart. A pair is compared over the requests that arrive from the burst's start until
the slower one of the two has its queue back: until nobody waits any more.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controller.controller import Controller
from controller.planning.objective import ObjectiveSettings
from controller.policies.definition import PolicySettings
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.serving.ordering.turns import ServingOrder
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.calibration.traces import run_questions
from experiments.request_record import RequestRecord
from experiments.simulation.give_up_of_records import given_up
from experiments.simulation.recording import Recording, read_calibration, recording
from experiments.simulation.simulation import simulate, simulated_context
from experiments.workloads import FlashCrowd, Poisson, Step, Workload
from models.chat_model import load_chat_model
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model

CALM_S = 3600.0
BEFORE_S = 60.0  # of calm that a constant is simulated over before the burst
AFTER_S = 200.0  # from the burst's start to the end, as in simulated.yaml
LOAD = 0.4  # of the capacity, in calm
MAX_BATCH = 32
THRESHOLDS = (0.3, 0.5, 0.65, 0.8, 0.85, 0.9, 0.95)

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
        machine = replace(profiled_machine(profile), max_batch=MAX_BATCH)
        traces = found.log.of(run_questions(found.questions)).traces
        right = tuple(traces[number].right for number in range(len(found.questions)))
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


def bursts(rate: float) -> dict[str, tuple[Workload, float]]:
    """Returns what follows the calm, and when in it the arrivals are back at `rate`, or next to it, s."""
    return {
        "burst": (Step(rate=rate, factor=5.0, at_s=0.0, until_s=40.0), 40.0),
        "flash crowd": (
            FlashCrowd(rate=rate, peak=6.0, at_s=0.0, rise_s=5.0, hold_s=20.0, decay_s=20.0),
            45.0,
        ),
    }


def serve(
    bench: Bench,
    policy: PolicySettings,
    times: Times,
    questions: Sequence[int],
    *,
    head_start_s: float,
    settings: ControllerSettings,
) -> ServedRun:
    """Serves the requests from an empty queue at the first arrival's time on."""
    clock = VirtualClock()
    clock.now = float(times[0])
    fixed = FixedSettings(settings)
    made = policy.make(simulated_context(bench.profile, lambda _: fixed, machine=bench.machine, clock=clock))
    records = simulate(
        bench.recorded, times, questions, machine=bench.machine, clock=clock, policy=made.policy,
        observer=made.observer,
        order=ServingOrder.of(bench.profile, head_start_s=head_start_s),
    )  # fmt: skip
    keeper = made.policy.keeper if isinstance(made.policy, Controller) else None
    if keeper is None:
        return ServedRun(records=records, account={})
    status = keeper.status(0.0)
    said = ("requests", "spent", "mean", "left", "most", "refused", "topped_up")
    return ServedRun(records=records, account={name: float(getattr(status, name)) for name in said})


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


def _pieces(bench: Bench, seed: int, what: Workload, calm_s: float) -> tuple[Times, list[int]]:
    rng = np.random.default_rng(seed)
    calm = Poisson(rate=bench.calm_rate).arrivals(calm_s, rng)
    asked = rng.integers(len(bench.right), size=calm.size).tolist()
    after = calm_s + what.arrivals(AFTER_S, np.random.default_rng(seed + 1_000_000))
    later = np.random.default_rng(seed + 2_000_000).integers(len(bench.right), size=after.size).tolist()
    return np.concatenate([calm, after]), [*asked, *later]


def one_burst(bench: Bench, name: str, seed: int, options: argparse.Namespace, settings: ControllerSettings) -> Any:
    """Returns the account's run against every constant's over one burst."""
    what, ends = bursts(bench.calm_rate)[name]
    times, questions = _pieces(bench, seed, what, options.calm)
    account = LoadAware(risk=options.risk, risk_peak=options.peak, give_up=options.give_up)
    ours = serve(bench, account, times, questions, head_start_s=options.head_start, settings=settings)
    late = times >= options.calm - BEFORE_S
    start = int(np.argmax(late))
    found: dict[str, Any] = {"burst": name, "seed": seed, "account": ours.account, "harm": harm(bench, ours.records)}
    found["calm"] = utility(bench, ours.records, 0.0, options.calm - BEFORE_S)
    found["after"], found["against"] = {}, {}
    levels = map(float, options.thresholds.split(","))
    others = [(f"{level:g}", FixedThreshold(threshold=level)) for level in levels]
    named: list[tuple[str, PolicySettings]] = [*others]
    if options.ways:
        named += [("today", LoadAware()), ("at peak", LoadAware(risk=options.peak))]
    mine = back_s(ours.records, options.calm + ends)
    found["back_s"] = mine - options.calm
    for label, policy in named:
        for shortest in (False, True):
            theirs = serve(
                bench, policy, times[late], questions[start:], head_start_s=math.inf if shortest else 0.0,
                settings=ControllerSettings(),
            )  # fmt: skip
            until = max(mine, back_s(theirs.records, options.calm + ends))
            key = f"{label}{', shortest first' if shortest else ''}"
            found["against"][key] = utility(bench, theirs.records, options.calm, until)
            found["after"][key] = utility(bench, ours.records, options.calm, until)
    return found


def one_calm(bench: Bench, seed: int, levels: Sequence[float], calm_s: float) -> dict[str, float]:
    """Returns the utility of constants over the calm."""
    times, questions = _pieces(bench, seed, bursts(bench.calm_rate)["burst"][0], calm_s)
    calm = times < calm_s
    found = {}
    for level in levels:
        served = serve(
            bench, FixedThreshold(threshold=level), times[calm], questions[: int(calm.sum())], head_start_s=0.0,
            settings=ControllerSettings(),
        )  # fmt: skip
        found[f"{level:g}"] = utility(bench, served.records, 0.0, calm_s - BEFORE_S)
    return found


def told(one: dict[str, Any], calm: dict[str, float] | None) -> str:
    """Returns a run in words."""
    margins = {key: one["after"][key] - value for key, value in one["against"].items() if key[0].isdigit()}
    first, short = (
        {key: gain for key, gain in margins.items() if ("," in key) is shortest} for shortest in (False, True)
    )
    worst = [min(some, key=lambda key: some[key]) for some in (first, short)]
    others = ", ".join(f"{key} {one['after'][key] - value:+.2f}" for key, value in one["against"].items())
    lines = [
        f"{one['burst']}, seed {one['seed']}: least margins {margins[worst[0]]:+.2f} over {worst[0]}, first come, and "
        f"{margins[worst[1]]:+.2f} over {worst[1]}; charged "
        f"{one['account'].get('mean', 0.0):.2%}, harmed {one['harm']:.2%}, queue back after {one['back_s']:.0f} s",
        f"  margins: {others}",
        f"  account: {one['account']}",
    ]
    if calm:
        best = max(calm, key=lambda key: calm[key])
        lines.append(
            f"  calm: {one['calm']:.2f}, best constant {best} {calm[best]:.2f}: {one['calm'] - calm[best]:+.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100", help="comma-separated; those below 100 are for choosing settings")
    parser.add_argument("--bursts", default="burst,flash crowd")
    parser.add_argument("--calm", type=float, default=CALM_S, help="seconds of calm")
    parser.add_argument("--calm-thresholds", default="0.8,0.85,0.9,0.95", help="of the constants over the calm")
    parser.add_argument("--thresholds", default=",".join(map(str, THRESHOLDS)), help="of the constants in the burst")
    parser.add_argument(
        "--ways", action="store_true", help="also the controller as it is, and all the time at the peak"
    )
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--peak", type=float, default=0.10)
    parser.add_argument(
        "--head-start", type=float, default=math.inf, help="of ours, s; 0: first come, inf: shortest first, in both of "
        "which the constants are served"
    )  # fmt: skip
    parser.add_argument("--give-up", action="store_true", help="ours gives hopeless thoughts up, too")
    parser.add_argument("--worth", type=float, help="of a unit of kept risk")
    parser.add_argument("--horizon", type=float, help="seconds that the savings must last for")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = ControllerSettings()
    changed = {"worth": options.worth, "horizon_s": options.horizon}
    account = replace(settings.account, **{name: value for name, value in changed.items() if value is not None})
    settings = replace(settings, account=account)
    bench, found = Bench.bundled(give_up=options.give_up), []
    for seed in map(int, options.seeds.split(",")):
        levels = [float(level) for level in options.calm_thresholds.split(",") if level]
        calm = one_calm(bench, seed, levels, options.calm) if levels else None
        for name in options.bursts.split(","):
            found.append({**one_burst(bench, name, seed, options, settings), "constants_calm": calm})
            print(told(found[-1], calm), flush=True)
            if options.out is not None:
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
