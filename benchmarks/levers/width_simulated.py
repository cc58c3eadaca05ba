"""What width does to accuracy and times at low load, simulated: the real loop and controller in virtual time.

The bundled model's 5,000 questions with recorded samples (`benchmarks.levers.width`) arrive at random times at shares
of what full thoughts alone can be served. Compared are full thoughts, the load-aware controller with certified
thresholds (no budget: what follows one was not recorded for these questions), and the same with races. The aim, stated
before the first run (2026-11-30): at a tenth of that load or less the controller with races is right at least one point
more often than without, and at its 90 % neither accuracy nor mean time is worse than without by more than half a point
and 2 %. Rows of cancelled thoughts are known to 16 tokens each.

With `--cells` the engine has that many cells of KV cache, which its sequences take as they grow, each thought of a race
its own; compared are thresholds, and width with and without cells planned. The aim, stated before the first run
(2026-11-30, 2,000 cells): over all loads together width with cells planned is worth more than without, by 100 times the
share of right answers less what waiting costs, and at no load is it right half a point less often than thresholds.

The races were tabulated on the same questions, so accuracy is told in sample; the held-out figure is that of
`benchmarks.levers.width`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.levers.width import RECORDS
from benchmarks.reasoner.aims import COUNT, TEMPERATURE
from benchmarks.reasoner.asking import asked_reasoner
from benchmarks.reasoner.evidence import evidence, read_samples, read_thoughts
from benchmarks.support import report
from controller.policies.definition import Made, constant
from controller.policies.restricted import thresholds_only, with_levers, within_one_corner
from controller.policy import Limits
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.calibration.races.width import raced_questions, rules, with_width
from experiments.request_record import RequestRecord
from experiments.simulation.recording import Recording, assembled
from experiments.simulation.simulation import punctual_controller, simulate
from experiments.workloads import Poisson
from models.profile.lever import Lever
from models.profile.profile import Profile, profile_of, read_profile
from models.reasoner import bundled_model

SHARES = (0.02, 0.1, 0.3, 0.9)  # of the load that full thoughts can be served at
FIGURES = ("right", "mean_s", "p99_s", "rows", "worth")
FULL, THRESHOLDS, WIDTH, PLANNED = "full thought", "thresholds", "thresholds and width", "the same, cells planned"
WAYS = (FULL, THRESHOLDS, WIDTH)
IN_CELLS = (THRESHOLDS, WIDTH, PLANNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthServed:
    """How a load was served one way."""

    share: float  # of the load that full thoughts can be served at
    way: str
    seed: int
    requests: int
    right: float
    mean_s: float
    p99_s: float
    rows: float  # mean token rows of a request
    worth: float  # 100 times the share of right answers, less what waiting costs by the controller's objective


def recorded() -> tuple[Profile, Recording]:
    """Returns the bundled model's profile with races tabulated, and its questions with samples."""
    asked = asked_reasoner(bundled_model(), COUNT)
    files = [RECORDS / "thoughts.jsonl.xz"], [RECORDS / "replies.jsonl.xz"]
    seen = evidence(asked, read_thoughts(asked, files[0]), read_samples(asked, files[1]))
    places = seen.drawn.tolist()
    traces, samples = [seen.traces[place] for place in places], [seen.replies[place] for place in places]
    before = thresholds_only(read_profile(profile_of(bundled_model())))
    told = [before.difficulty.classify(trace.prompt) for trace in traces]
    profile = with_width(before, raced_questions(traces, samples), told, rules(TEMPERATURE, 0.0))
    chat = asked.chat
    return profile, assembled(
        chat.tokenizer,
        chat.thinking,
        chat.stop_tokens,
        profile,
        dict(enumerate(traces)),
        {},
        [(seen.questions[place].benchmark, None) for place in places],
        dict(enumerate(samples)),
    )


def made(way: str, profile: Profile, clock: VirtualClock) -> Made:
    """Returns the policy of a way to serve."""
    if way == FULL:
        return constant(Limits())
    used = profile if way == THRESHOLDS else with_levers(profile, {Lever.WIDTH})
    settings = FixedSettings(ControllerSettings(memory=way == PLANNED))
    controller = punctual_controller(within_one_corner(used), settings, clock=clock, max_batch=profile.plant.max_batch)
    return Made(policy=controller, observer=controller)


def served(
    profile: Profile, known: Recording, way: str, share: float, seed: int, count: int, cells: int | None = None
) -> tuple[WidthServed, Sequence[RequestRecord]]:
    """Serves about `count` requests one way; the same share and seed give the same requests. `cells` None: enough."""
    machine, clock = profiled_machine(profile), VirtualClock()
    if cells is not None:
        machine = replace(machine, cells=cells, growing=True)
    rate, rng = share * profile.full_thought_rate, np.random.default_rng(seed)
    arrivals = Poisson(rate=rate).arrivals(count / rate, rng)
    asked = rng.integers(len(known.questions), size=arrivals.size).tolist()
    policy = made(way, profile, clock)
    records = simulate(
        known, arrivals, asked, machine=machine, clock=clock, policy=policy.policy, observer=policy.observer
    )
    times, right = np.array([one.latency_s for one in records]), float(np.mean([bool(one.right) for one in records]))
    waiting = ControllerSettings().objective.at(profile.reply_s).latency_weight
    return WidthServed(
        share=share,
        way=way,
        seed=seed,
        requests=len(records),
        right=right,
        mean_s=float(times.mean()),
        p99_s=float(np.percentile(times, 99)),
        rows=float(np.mean([one.rows for one in records])),
        worth=100.0 * (right - waiting * float(times.mean())),
    ), records


def main() -> None:
    """Serves every load every way, and prints the means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000, help="requests of a run; default: 3000")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each load and way; default: 3")
    parser.add_argument("--cells", type=int, help="cells of KV cache; default: enough for all")
    parser.add_argument("--shares", default=",".join(map(str, SHARES)), help="loads; default: %(default)s")
    parser.add_argument("--out", type=Path, help="write the figures to this file, JSON")
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.levers.width_simulated", 0)
    profile, known = recorded()
    found = []
    print(f"{'load':>6} {'way':<24}{'requests':>9}{'right':>8}{'mean s':>8}{'p99 s':>8}{'rows':>8}{'worth':>8}")
    for share in map(float, arguments.shares.split(",")):
        for way in WAYS if arguments.cells is None else IN_CELLS:
            runs = [
                served(profile, known, way, share, seed, arguments.count, arguments.cells)[0]
                for seed in range(arguments.seeds)
            ]
            found += runs
            means = [float(np.mean([getattr(one, name) for one in runs])) for name in FIGURES]
            print(
                f"{share:>6.0%} {way:<24}{sum(one.requests for one in runs):>9,}{means[0]:>8.1%}{means[1]:>8.3f}"
                f"{means[2]:>8.3f}{means[3]:>8.0f}{means[4]:>8.2f}",
                flush=True,
            )
    if arguments.out is not None:
        report.write(arguments.out, ran, [asdict(one) for one in found])


if __name__ == "__main__":
    main()
