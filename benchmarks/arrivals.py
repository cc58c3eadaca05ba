"""Compares two arrival-rate estimates: the filter, and an exponentially weighted mean with the best time constant.

Five kinds of traffic at two mean rates, counted every second. The error is the root mean square of estimate minus true
rate, over the mean rate (nRMSE). The mean's time constant is chosen in hindsight, on these same traces, for the lowest
error over all kinds; the filter's settings were chosen with `--seeds 100 101 102`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.support import report
from controller.estimation.arrivals import ArrivalRate, ArrivalSettings

Array = npt.NDArray[np.float64]
Estimate = Callable[[Array], Array]  # from the counts of each second to the estimated rates at its end

KINDS = ("poisson", "mmpp", "step", "diurnal", "flash crowd")
SECONDS = {0.2: 5400, 3.0: 1800}  # length of a trace, by mean rate
SETTLING = 60  # seconds left out at the start
TIME_CONSTANTS = (2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 40.0, 60.0, 80.0, 110.0, 150.0)  # s


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterResult:
    """nRMSE by kind of traffic, at one mean rate."""

    rate: float  # requests/s
    filter: dict[str, float]
    weighted_mean: dict[str, float]  # with the time constant that is best over all kinds
    time_constant_s: float
    best_for_kind: dict[str, float]  # nRMSE of the time constant that is best for this kind alone


def rates(kind: str, mean: float, seconds: int, rng: np.random.Generator) -> Array:
    """Returns the true rate in each second, requests/s."""
    t = np.arange(seconds) + 0.5
    match kind:
        case "poisson":
            return np.full(seconds, mean)
        case "step":
            return np.full(seconds, mean) * np.where(t < seconds / 2, 0.6, 1.4)
        case "diurnal":
            wave: Array = np.sin(2.0 * np.pi * t / 1800.0)
            return mean * (1.0 + 0.7 * wave)
        case "flash crowd":
            since = np.maximum(t - seconds / 2, 0.0)
            return mean * (0.75 + np.where(since > 0.0, 3.5 * np.exp(-since / 180.0), 0.0))
        case "mmpp":
            values, high = np.empty(0), False
            while len(values) < seconds:
                stay = math.ceil(rng.exponential(60.0 if high else 180.0))
                values, high = np.append(values, np.full(stay, (2.5 if high else 0.5) * mean)), not high
            return values[:seconds]
    raise ValueError(f"kind is {kind!r}, must be one of {', '.join(KINDS)}")


def traces(kind: str, mean: float, seeds: Sequence[int]) -> Iterator[tuple[Array, Array]]:
    """Yields true rates and counts drawn from them, one trace per seed."""
    for seed in seeds:
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        true = rates(kind, mean, SECONDS[mean], rng)
        yield true, rng.poisson(true).astype(np.float64)


def error(estimate: Estimate, kind: str, mean: float, seeds: Sequence[int]) -> float:
    """Returns the mean nRMSE over the traces of these seeds."""
    errors = []
    for true, counts in traces(kind, mean, seeds):
        missed = (estimate(counts) - true)[SETTLING:]
        errors.append(math.sqrt(np.mean(missed**2)) / true.mean())
    return float(np.mean(errors))


def filtered(settings: ArrivalSettings) -> Estimate:
    """Returns the filter as an estimate: it observes the counts second by second."""

    def estimate(counts: Array) -> Array:
        arrivals, out = ArrivalRate(settings), np.empty(len(counts))
        for i, count in enumerate(counts):
            arrivals.observe(float(count), 1.0)
            out[i] = arrivals.rate
        return out

    return estimate


def weighted_mean(time_constant_s: float, initial: float) -> Estimate:
    """Returns an exponentially weighted mean of the counts as an estimate."""

    def estimate(counts: Array) -> Array:
        gain, value, out = 1.0 - math.exp(-1.0 / time_constant_s), initial, np.empty(len(counts))
        for i, count in enumerate(counts):
            value += gain * (float(count) - value)
            out[i] = value
        return out

    return estimate


def measure(mean: float, seeds: Sequence[int], **settings: float) -> FilterResult:
    """Measures filter and weighted means at one mean rate."""
    means = {
        constant: {kind: error(weighted_mean(constant, mean), kind, mean, seeds) for kind in KINDS}
        for constant in TIME_CONSTANTS
    }
    best = min(means, key=lambda constant: sum(means[constant].values()))
    estimate = filtered(ArrivalSettings(initial_rate=mean, **settings))
    return FilterResult(
        rate=mean,
        filter={kind: error(estimate, kind, mean, seeds) for kind in KINDS},
        weighted_mean=means[best],
        time_constant_s=best,
        best_for_kind={kind: min(errors[kind] for errors in means.values()) for kind in KINDS},
    )


def table(results: Sequence[FilterResult]) -> str:
    """Formats the results as text."""
    lines = []
    for result in results:
        lines.append(f"{result.rate} requests/s, nRMSE")
        lines.append(f"  {'':12} filter   mean over {result.time_constant_s:g} s   best mean for this kind")
        for kind in KINDS:
            lines.append(
                f"  {kind:12}  {result.filter[kind]:.3f}   {result.weighted_mean[kind]:14.3f}   "
                f"{result.best_for_kind[kind]:23.3f}"
            )
        ours, theirs = (np.mean(list(errors.values())) for errors in (result.filter, result.weighted_mean))
        lines.append(f"  {'all':12}  {ours:.3f}   {theirs:14.3f}")
    return "\n".join(lines)


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arrivals", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one trace of each kind for each")
    for name in ("slow", "fast", "dwell_s"):
        default = ArrivalSettings.__dataclass_fields__[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default, help="setting of the filter")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.arrivals", options.seeds[0])
    settings = {name: getattr(options, name) for name in ("slow", "fast", "dwell_s")}
    results = [measure(mean, options.seeds, **settings) for mean in SECONDS]
    print(table(results))
    if options.out is not None:
        report.write(options.out, ran, [asdict(result) for result in results])


if __name__ == "__main__":
    main()
