"""Small KV caches, simulated: the controller that plans cells against the one that does not, on the same requests.

    python -m benchmarks.levers.memory --out memory.json

The bundled records and the profile's machine, at most 32 sequences at once. An engine that reserves takes prompt and
longest reply from a request's start; one that grows takes cells as tokens come, and gives the newest sequence's back
where they run out. Loads are shares of the requests/s of full thought that the cells leave room for (as many sequences
as fit, by the profile).

Aims, set before any of it was run, with seeds 100 to 109:
1. Over all situations together, utility (100·accuracy less what waiting costs by the controller's objective) is higher
   with cells planned, beyond chance (95 % interval of the paired differences).
2. In no situation is it lower by more than .5 points beyond chance.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.risk.bursts import Bench
from controller.policies.load_aware import LoadAware
from controller.settings import ControllerSettings, FixedSettings
from engine.simulated.machine import Machine, VirtualClock
from experiments.simulation.simulation import simulate, simulated_context
from experiments.workloads import Poisson

DURATION_S = 60.0
CELLS = (2000, 4000)
LOADS = (0.8, 1.2)
LONG = 700.0  # cells that the bundled model's requests hold from their start where an engine reserves, about


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSituation:
    """An engine's memory, and its load."""

    cells: int
    growing: bool
    load: float  # of the full thoughts that there are cells for

    @property
    def name(self) -> str:
        """The situation in words."""
        return f"{'grows' if self.growing else 'reserves'}, {self.cells} cells, load {self.load:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOutcome:
    """What a run served."""

    accuracy: float
    latency_s: float
    utility: float  # 100·accuracy, less what waiting costs


def situations() -> Iterator[CacheSituation]:
    """All situations."""
    for growing in (False, True):
        for cells in CELLS:
            for load in LOADS:
                yield CacheSituation(cells=cells, growing=growing, load=load)


def rate_of(bench: Bench, one: CacheSituation) -> float:
    """Returns the requests/s of a situation."""
    plant = bench.profile.plant_model()
    held = plant.context if one.growing else LONG
    fits = replace(plant, max_batch=max(1, min(bench.machine.max_batch, int(one.cells / held))))
    return one.load * fits.capacity / bench.profile.full_thought_tokens


def run(bench: Bench, one: CacheSituation, seed: int, *, memory: bool) -> CacheOutcome:
    """Serves a situation with cells planned or not."""
    rng = np.random.default_rng(seed)
    times = Poisson(rate=rate_of(bench, one)).arrivals(DURATION_S, rng)
    asked = rng.integers(len(bench.right), size=times.size).tolist()
    machine: Machine = replace(bench.machine, cells=one.cells, growing=one.growing)
    clock, settings = VirtualClock(), FixedSettings(ControllerSettings(memory=memory))
    made = LoadAware().make(simulated_context(bench.profile, lambda _: settings, machine=machine, clock=clock))
    records = simulate(
        bench.recorded, times, asked, machine=machine, clock=clock, policy=made.policy, observer=made.observer
    )
    right = float(np.mean([record.right is True for record in records]))
    latency = float(np.mean([record.latency_s for record in records]))
    return CacheOutcome(accuracy=right, latency_s=latency, utility=100.0 * right - bench.wait_worth * latency)


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Returns a mean and the ends of its 95 % interval, by Student's t."""
    from scipy.stats import t

    values = np.array(differences)
    reach = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()), float(values.mean()) - reach, float(values.mean()) + reach


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=("grows", "reserves"), help="engines of one kind alone")
    parser.add_argument("--cells", type=int, help="caches of so many cells alone")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bench, found, every = Bench.bundled(), [], []
    for one in situations():
        if options.only not in (None, "grows" if one.growing else "reserves"):
            continue
        if options.cells not in (None, one.cells):
            continue
        pairs = [
            tuple(run(bench, one, options.first_seed + k, memory=memory) for memory in (False, True))
            for k in range(options.seeds)
        ]
        gains = [planned.utility - plain.utility for plain, planned in pairs]
        mean, low, high = interval(gains)
        every.append(gains)
        seen = [
            f"{name} {np.mean([getattr(pair[0], name) for pair in pairs]):.3f} -> "
            f"{np.mean([getattr(pair[1], name) for pair in pairs]):.3f}"
            for name in ("accuracy", "latency_s", "utility")
        ]
        print(f"{one.name}: {', '.join(seen)}; gain {mean:+.2f} ({low:+.2f} to {high:+.2f})", flush=True)
        found.append({**asdict(one), "runs": [[asdict(plain), asdict(planned)] for plain, planned in pairs]})
        if options.out is not None:
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    mean, low, high = interval(np.mean(every, axis=0).tolist())
    print(f"all situations: gain {mean:+.2f} ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
