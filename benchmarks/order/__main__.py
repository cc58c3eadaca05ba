"""Measures what the order of requests is worth at 1.1 times the capacity of the system's own exits, in virtual time.

The serving loop, its queue and its pauses are the real ones; the model repeats recorded or synthetic thoughts, closed
by the profile's safe constant. Lengths are foretold by a classifier that has not seen the questions that are asked: of
the recorded ones every second question teaches it, and the others are asked. Beside the profile's forecast, a class's
mean alone and an oracle, which knows the rows of every request, may stand in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.order.aims import AIMS, HEAD_STARTS, LOAD, REQUESTS, SEEDS
from benchmarks.support import report
from controller.policy import FixedPolicy, Limits
from controller.serving.ordering.remaining import RowForecast
from controller.serving.ordering.turns import ServingOrder
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.request_record import RequestRecord
from experiments.simulation.contest import safe_constant
from experiments.simulation.orders import REPLIES, OrderFront, order_front
from experiments.simulation.recording import Recording, read_recording
from experiments.simulation.simulation import simulate
from experiments.synthetic.curves import Curve, Synthetic
from experiments.synthetic.reasoner import reasoner
from experiments.workloads import Gamma, Poisson, Workload
from experiments.workloads.recorded import Trace
from models.chat_model import load_chat_model
from models.profile.difficulty import learn
from models.profile.profile import Profile, profile_of
from models.reasoner import bundled_model

LONG_ENOUGH = 1.5  # times the mean duration of REQUESTS, so that a seed draws as many
CV = 3.0  # of the gaps of bursty arrivals
EARLY, LATE = 0.2, 0.8  # shares of a crowd's ends between which its rate is the capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """A model, the questions that are asked of it, and its machine."""

    profile: Profile  # whose classifier has not seen the questions
    known: Recording
    asked: tuple[int, ...]  # numbers of the questions
    machine: Machine
    told: RowForecast | None = None  # stands in for the profile's; None: nothing does

    @property
    def limits(self) -> Limits:
        """The safe constant: where the system's own exits are."""
        safe = safe_constant(self.profile)
        return Limits(threshold=safe.threshold, budget=safe.budget)

    def play(self, arrivals: np.ndarray, questions: Sequence[int], order: ServingOrder) -> list[RequestRecord]:
        """Serves these questions at these times in an order."""
        if self.told is not None and order.forecast is not None:
            order = replace(order, forecast=self.told)
        policy = FixedPolicy(self.limits)
        return simulate(
            self.known, arrivals, questions, machine=self.machine, clock=VirtualClock(), policy=policy, order=order
        )

    def crowd(self) -> list[RequestRecord]:
        """Serves all questions, in a drawn order: as recorded, a family follows another."""
        crowd = np.random.default_rng(0).permutation(self.asked).tolist()
        return self.play(np.zeros(len(crowd)), crowd, ServingOrder())

    def capacity(self) -> float:
        """Requests/s that end while a crowd waits."""
        ends = np.sort([one.latency_s for one in self.crowd()])
        early, late = (round(share * (len(ends) - 1)) for share in (EARLY, LATE))
        return float((late - early) / (ends[late] - ends[early]))


def by_class(served: AskedModel) -> AskedModel:
    """Returns the model with every request told by its class's mean rows alone."""
    questions = tuple(replace(one, expected_tokens=0.0) for one in served.known.questions)
    return replace(served, known=replace(served.known, questions=questions))


def by_oracle(served: AskedModel) -> AskedModel:
    """Returns the model with every request told by the rows that it takes at the safe constant, which are the same
    whenever it is served.
    """
    rows = {record.question: float(record.rows) for record in served.crowd()}
    known = served.known.questions
    questions = tuple(replace(one, expected_tokens=rows.get(one.number, 0.0)) for one in known)
    certain = RowForecast(
        classes=(), thresholds=(None,), budgets=(None,), curves=(None,), mean=((((1.0,),),),), spread=(((0.0,),),),
        usual_rows=RowForecast.of(served.profile).usual_rows, answer_rows=0.0,
    )  # fmt: skip
    return replace(served, known=replace(served.known, questions=questions), told=certain)


FORECASTS: dict[str, Callable[[AskedModel], AskedModel]] = {
    "profile": lambda served: served,
    "class": by_class,
    "oracle": by_oracle,
}


def held_out(profile: Profile, known: Recording, machine: Machine) -> AskedModel:
    """Returns what is served, with every second question kept from the classifier, and asked."""
    taught = known.questions[::2]
    lengths = [len(known.model.thoughts[one.number].follow(()).tokens) for one in taught]
    difficulty = learn([one.prompt for one in taught], lengths).difficulty
    profile = replace(profile, difficulty=difficulty)
    questions = tuple(
        replace(
            one,
            difficulty=difficulty.classify(one.prompt),
            expected_tokens=difficulty.expected_tokens(one.prompt),
        )
        for one in known.questions
    )
    asked = tuple(range(1, len(questions), 2))
    return AskedModel(profile=profile, known=replace(known, questions=questions), asked=asked, machine=machine)


def bundled() -> AskedModel:
    """The bundled model's recorded thoughts on the machine of its profile."""
    directory = bundled_model()
    profile, known = read_recording(load_chat_model(directory, None), directory, profile_of(directory))
    return held_out(profile, known, profiled_machine(profile))


def synthetic(curve: Curve) -> AskedModel:
    """A synthetic 7B reasoner on an RTX 4090."""
    made = reasoner(Synthetic(curve=curve))
    return held_out(made.profile, made.recording(made.thoughts.traces), made.machine)


MODELS: dict[str, Callable[[], AskedModel]] = {
    "bundled": bundled,
    "synthetic-optimistic": lambda: synthetic(Curve.OPTIMISTIC),
    "synthetic-pessimistic": lambda: synthetic(Curve.PESSIMISTIC),
}


def arrivals(kind: str, rate: float, trace: Path | None) -> Workload:
    """Returns when requests come: `poisson`, `bursts` or `recorded`, the latter by the times of a trace."""
    match kind:
        case "poisson":
            return Poisson(rate=rate)
        case "bursts":
            return Gamma(rate=rate, cv=CV)
        case _:
            if trace is None:
                raise SystemExit("recorded arrivals need --trace")
            return Trace(path=trace, rate=rate, field="TIMESTAMP")


def front(served: AskedModel, workload: Workload, rate: float, *, seed: int, pauses: bool) -> OrderFront:
    """Returns the front of the first REQUESTS requests that a seed draws; `rate`: the workload's, requests/s."""
    rng = np.random.default_rng(seed)
    times = workload.arrivals(LONG_ENOUGH * REQUESTS / rate, rng)[:REQUESTS]
    asked = rng.choice(served.asked, size=len(times)).tolist()
    return order_front(served.profile, lambda order: served.play(times, asked, order), pauses=pauses)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPoint:
    """An order's figures over those of first come on the same requests, means over seeds."""

    replies: float  # the head start
    head_start_s: float
    mean: float
    p99: float
    worst: float  # worst latency
    worst_slowdown: float
    slowdown: float  # the worst slowdown itself, the largest of all seeds
    bounded: bool  # in all seeds


def mean_points(found: Sequence[OrderFront]) -> Iterator[MeanPoint]:
    """Yields the points of the fronts' mean."""
    for place, replies in enumerate(REPLIES):
        pairs = [(front.points[place], front.first_come) for front in found]
        ratio = {
            name: float(np.mean([getattr(one, name) / getattr(first, name) for one, first in pairs]))
            for name in ("mean_s", "p99_s", "worst_s", "worst_slowdown")
        }
        yield MeanPoint(
            replies=replies,
            head_start_s=pairs[0][0].head_start_s,
            mean=ratio["mean_s"],
            p99=ratio["p99_s"],
            worst=ratio["worst_s"],
            worst_slowdown=ratio["worst_slowdown"],
            slowdown=max(one.worst_slowdown for one, _ in pairs),
            bounded=all(one.bounded for one, _ in pairs),
        )


def tell(points: Sequence[MeanPoint]) -> None:
    """Prints the front and what became of the aims."""
    print("head start, replies   s        mean   p99    worst  worst slowdown (largest)  bounded")
    for one in points:
        print(
            f"{one.replies:8g} {one.head_start_s:16.2f} {one.mean:10.3f} {one.p99:6.2f} {one.worst:6.2f} "
            f"{one.worst_slowdown:8.2f} ({one.slowdown:.0f}) {'yes' if one.bounded else 'no':>15}"
        )
    for aim in AIMS:
        met = [one for one in points if one.bounded and one.mean <= aim.mean and one.p99 <= aim.p99]
        said = f"met at a head start of {', '.join(f'{one.replies:g}' for one in met)} replies" if met else "MISSED"
        print(f"mean at most {aim.mean:g} at a 99th percentile of at most {aim.p99:g}: {said}")


def write(file: Path, ran: report.Circumstances, rate: float, found: Sequence[OrderFront]) -> None:
    """Writes the fronts and their mean."""
    figures = {"points": [asdict(one) for one in mean_points(found)], "fronts": [asdict(one) for one in found]}
    report.write(file, ran, {"rate": rate, **figures})


def main() -> None:
    """Command line: measure, print the front, and write the JSON file if one is named."""
    assert HEAD_STARTS == REPLIES, "the aims are for these head starts"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order", description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="bundled")
    parser.add_argument("--arrivals", choices=["poisson", "bursts", "recorded"], default="poisson")
    parser.add_argument("--trace", type=Path, help="times of recorded arrivals, Azure's CSV")
    parser.add_argument("--pauses", action="store_true", help="running thoughts pause")
    parser.add_argument("--forecast", choices=list(FORECASTS), default="profile", help="what tells requests' rows")
    parser.add_argument("--load", type=float, default=LOAD, help="times the capacity; the aims are for the default")
    parser.add_argument("--max-batch", type=int, help="sequences decoded at once (default: the profile's)")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the seeds, from the first")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.order", 0)
    served = MODELS[options.model]()
    if options.max_batch is not None:
        served = replace(served, machine=replace(served.machine, max_batch=options.max_batch))
    rate = options.load * served.capacity()
    served = FORECASTS[options.forecast](served)
    workload = arrivals(options.arrivals, rate, options.trace)
    found: list[OrderFront] = []
    for seed in SEEDS[: options.seeds]:
        found.append(front(served, workload, rate, seed=seed, pauses=options.pauses))
        if options.out is not None:  # what is measured is kept if the run is ended
            write(options.out, ran, rate, found)
    points = list(mean_points(found))
    first_s = float(np.mean([one.first_come.mean_s for one in found]))
    print(f"{options.model}, {options.arrivals} at {rate:.2f}/s, {len(found)} seeds of {REQUESTS}, {served.limits}")
    print(f"rows told by {options.forecast}; first come {first_s:.2f} s in the mean")
    tell(points)


if __name__ == "__main__":
    main()
