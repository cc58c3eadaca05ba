"""Compares the simulator with the torch engine: the same requests, served in this process and simulated, by load.

Two machines are simulated: one fitted on the passes of a warm-up, and one on every second stretch of 50 passes of the
served run itself, which excludes changes of the real machine's speed between runs. By default the clock is the CPU time
of this thread, and skips idle times; other processes slow it down, but less than a wall clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks.support import report
from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from engine.base import Engine, Event, Finished, Probed, ProbeId, ProbeSpec, Request, SequenceId, Started, Tokens
from engine.simulated.machine import Machine, VirtualClock
from engine.wrapper import EngineWrapper
from experiments.calibration.traces import read_records, records_of
from experiments.evaluation.questions import bundled_questions
from experiments.request_record import RequestRecord
from experiments.simulation.recording import Recording, recording
from experiments.simulation.simulation import serve, simulate
from experiments.workloads import Poisson
from models.chat_model import load_chat_model
from models.profile.plant import StepTime
from models.profile.profile import FILE_NAME, read_profile
from models.reasoner import bundled_model

LOADS = (0.3, 0.6, 0.85)  # shares of the capacity
MEAN, P95 = 0.05, 0.10  # the largest relative errors allowed
STRETCH, WARM = 50, 20  # passes


@dataclass(slots=True)
class RealClock:
    """A real clock, s, that skips idle times instead of waiting."""

    source: Callable[[], float]
    alarm: float = np.inf
    skipped: float = 0.0

    def __call__(self) -> float:
        return self.source() + self.skipped

    def skip(self, until: float) -> None:
        self.skipped += max(0.0, until - self())


@dataclass(slots=True)
class Pass:
    """What a forward pass did, and the seconds until the next one began, which include the loop's own work."""

    batch: int = 0  # sequences that decoded
    cached: int = 0  # tokens of these sequences
    prompts: int = 0  # tokens of prompts, and forced tokens
    probe_rows: int = 0
    began: float = 0.0
    seconds: float = 0.0


class Observed(EngineWrapper):
    """An engine that records what its passes do. Prompts must be shorter than a prefill chunk."""

    def __init__(self, engine: Engine, clock: RealClock) -> None:
        super().__init__(engine)
        self._clock = clock
        self.passes: list[Pass] = []
        self._tokens: dict[SequenceId, int] = {}  # of decoding sequences: prompt and new tokens
        self._prompts: dict[SequenceId, int] = {}
        self._probes: dict[ProbeId, tuple[SequenceId, int]] = {}  # running: sequence, and rows in the next pass
        self._forks: dict[ProbeId, int] = {}  # tokens that each probe continues
        self._parents: dict[ProbeId, SequenceId] = {}
        self._forced = 0

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        sequence = self.engine.submit(request, like=like)
        self._prompts[sequence] = len(request.prompt)
        return sequence

    def step(self) -> list[Event]:
        now = self._clock()
        if self.passes and self._tokens:
            self.passes[-1].seconds = now - self.passes[-1].began
        one = Pass(
            batch=len(self._tokens),
            cached=sum(self._tokens.values()),
            prompts=self._forced,
            probe_rows=sum(rows for _, rows in self._probes.values()),
            began=now,
        )
        self._forced = 0
        self._probes = {probe: (sequence, 1) for probe, (sequence, _) in self._probes.items()}
        events = self.engine.step()
        for event in events:
            match event:
                case Started():
                    one.prompts += self._prompts[event.sequence]
                case Tokens():
                    before = self._tokens.get(event.sequence, self._prompts[event.sequence])
                    self._tokens[event.sequence] = before + len(event.tokens)
                case Probed():
                    self._probes.pop(event.probe)
                case Finished():
                    self._forget(event.sequence)
        self.passes.append(one)
        return events

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        probe = self.engine.fork(sequence, spec, back=back)
        self._probes[probe] = sequence, len(spec.suffix)
        self._forks[probe] = self._tokens[sequence] - back
        self._parents[probe] = sequence
        return probe

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        self.engine.adopt(probe, keep=keep, then=then)
        self._tokens[self._parents[probe]] = self._forks[probe]

    def drop(self, probe: ProbeId) -> int:
        self._probes.pop(probe, None)
        return self.engine.drop(probe)

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        self.engine.force(sequence, tokens)
        self._forced += len(tokens)

    def cancel(self, sequence: SequenceId) -> None:
        self.engine.cancel(sequence)
        self._forget(sequence)

    def _forget(self, sequence: SequenceId) -> None:
        self._tokens.pop(sequence, None)
        self._probes = {probe: state for probe, state in self._probes.items() if state[0] != sequence}


def fitted(passes: Sequence[Pass], machine: Machine) -> tuple[Machine, float]:
    """Returns the machine that fits the passes' times best, and the rms relative error of their sums over stretches.

    Least squares with no coefficient below 0, each pass weighted by 1 / the time that a first fit gives it: so short
    passes, of few sequences, count as much as long ones, and passes delayed at random do not count more.
    """
    timed = [one for one in passes if one.seconds > 0.0]
    rows = np.array([[1.0, one.batch, one.cached, one.prompts, one.probe_rows] for one in timed])
    seconds = np.array([one.seconds for one in timed])
    weight = np.ones(len(timed))
    for _ in range(2):
        weighed = rows * weight[:, None]
        scale = np.maximum(weighed.max(axis=0), 1e-12)
        found = nnls(weighed / scale, seconds * weight)[0] / scale
        weight = 1.0 / np.maximum(rows @ found, 1e-9)
    whole = len(seconds) // STRETCH * STRETCH
    told, took = ((values[:whole]).reshape(-1, STRETCH).sum(axis=1) for values in (rows @ found, seconds))
    a, c, g, prefill, probe = (float(value) for value in found)
    machine = replace(machine, step_time=StepTime(a=a, c=c, g=g), prefill_s=prefill, probe_row_s=probe)
    return machine, float(np.sqrt(np.mean(np.square(told / took - 1.0))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadComparison:
    """One load, served and simulated."""

    load: float  # share of the capacity
    machine: str  # what the simulated machine was fitted on
    rate: float  # requests/s
    requests: int
    mean_s: tuple[float, float]  # served, simulated
    p95_s: tuple[float, float]
    first_answer_s: tuple[float, float]
    rows: tuple[float, float]
    same_ends: float  # share of requests with the same exit reason and thought length

    @property
    def errors(self) -> tuple[float, float]:
        """The relative errors of the simulated mean and 95th percentile."""
        (mean, our_mean), (p95, our_p95) = self.mean_s, self.p95_s
        return our_mean / mean - 1.0, our_p95 / p95 - 1.0


def compare(
    load: float, machine: str, rate: float, real: Sequence[RequestRecord], ours: Sequence[RequestRecord]
) -> LoadComparison:
    """Compares the served requests with the simulated ones."""

    def both(
        value: Callable[[RequestRecord], float], of: Callable[[npt.NDArray[np.float64]], float]
    ) -> tuple[float, float]:
        return of(np.array([value(one) for one in real])), of(np.array([value(one) for one in ours]))

    def mean(values: npt.NDArray[np.float64]) -> float:
        return float(values.mean())

    alike = [
        (a.exit_reason, a.thought_tokens) == (b.exit_reason, b.thought_tokens) for a, b in zip(real, ours, strict=True)
    ]
    return LoadComparison(
        load=load,
        machine=machine,
        rate=rate,
        requests=len(real),
        mean_s=both(lambda one: one.latency_s, mean),
        p95_s=both(lambda one: one.latency_s, lambda values: float(np.percentile(values, 95))),
        first_answer_s=both(lambda one: one.first_answer_s or 0.0, mean),
        rows=both(lambda one: one.rows, mean),
        same_ends=float(np.mean(alike)),
    )


class LiveBench:
    """The bundled model, served by the torch engine, or simulated from its recording."""

    def __init__(self, known: Recording, limits: Limits, max_batch: int, source: Callable[[], float]) -> None:
        self.known = known
        self._policy = FixedPolicy(limits)
        self._max_batch = max_batch
        self._source = source

    def asked(self, rate: float, count: int, seed: int) -> tuple[npt.NDArray[np.float64], list[int]]:
        """Draws Poisson arrival times and the questions asked."""
        rng = np.random.default_rng(seed)
        times = Poisson(rate=rate).arrivals(count / rate, rng)
        return times, rng.integers(len(self.known.questions), size=times.size).tolist()

    def live(self, rate: float, count: int, seed: int) -> tuple[list[RequestRecord], list[Pass]]:
        """Serves the requests with the torch engine; returns their records and the engine's passes."""
        from engine.torch.engine import TorchEngine, TorchEngineConfig
        from engine.torch.load import load_model

        clock = RealClock(self._source)
        clock.skipped = -clock()
        engine = TorchEngine(load_model(bundled_model()), TorchEngineConfig(max_batch=self._max_batch))
        observed = Observed(engine, clock)
        loop = ServingLoop(
            engine=observed,
            tokenizer=load_chat_model(bundled_model()).tokenizer,
            thinking=self.known.thinking,
            policy=self._policy,
            stop_tokens=self.known.stop_tokens,
            clock=clock,
            score=self.known.score,
        )
        return serve(self.known, *self.asked(rate, count, seed), loop=loop, clock=clock), observed.passes

    def simulated(self, machine: Machine, rate: float, count: int, seed: int) -> list[RequestRecord]:
        """Simulates the same requests; returns their records."""
        times, questions = self.asked(rate, count, seed)
        return simulate(self.known, times, questions, machine=machine, clock=VirtualClock(), policy=self._policy)


def main() -> None:
    """Prints how far the simulation is from what was served; fails if an error exceeds MEAN or P95."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, help="default: the bundled model's; its records beside it")
    parser.add_argument("--requests", type=int, default=300, help="at each load")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.live", options.seed)
    torch.set_num_threads(1)
    file = options.profile or bundled_model() / FILE_NAME
    profile = read_profile(file)
    said = profile.provenance["options"]
    known = recording(
        load_chat_model(bundled_model()),
        profile,
        read_records(records_of(file)),
        bundled_questions(said["count"], said["seed"]),
    )
    source = time.thread_time if options.clock == "cpu" else time.perf_counter
    bench = LiveBench(known, Limits(threshold=options.threshold), options.max_batch, source)
    believed = Machine(step_time=profile.plant.step_time, max_batch=options.max_batch)
    full = believed.step_time.seconds(options.max_batch, profile.plant.context)
    guess = 0.5 * options.max_batch / full / float(np.mean(profile.tokens))
    warm, passes = bench.live(guess, options.requests // 2, options.seed + 1000)
    machine, error = fitted(passes[WARM:], believed)
    step = machine.step_time
    print(
        f"Fitted on {len(passes)} passes: {1e3 * step.a:.2f} ms + ({1e6 * step.c:.0f} us + {1e9 * step.g:.0f} ns per "
        f"cached token) per sequence, {1e6 * machine.prefill_s:.0f} us per prompt token, "
        f"{1e6 * machine.probe_row_s:.0f} us per probe row; to {error:.1%} over 50 passes"
    )
    rows = float(np.mean([record.completion_tokens for record in warm]))
    capacity = options.max_batch / step.seconds(options.max_batch, profile.plant.context) / rows
    titles = "".join(f"{f'{value}: served':>14}{'simulated':>12}{'error':>8}" for value in ("mean", "p95"))
    print(f"{'load':>5}{'requests/s':>12}  {'fitted on':<12}{titles}{'same ends':>11}")
    found = []
    for number, load in enumerate(LOADS):
        rate, seed = load * capacity, options.seed + number
        real, passes = bench.live(rate, options.requests, seed)
        second = [one for place, one in enumerate(passes) if place // STRETCH % 2]
        for name, fit in (("the warm-up", machine), ("this run", fitted(second, believed)[0])):
            one = compare(load, name, rate, real, bench.simulated(fit, rate, options.requests, seed))
            found.append(one)
            values = "".join(
                f"{served_s:>12.3f} s{ours_s:>10.3f} s{error:>+8.1%}"
                for (served_s, ours_s), error in zip((one.mean_s, one.p95_s), one.errors, strict=True)
            )
            print(f"{load:>5.0%}{rate:>12.2f}  {name:<12}{values}{one.same_ends:>11.1%}", flush=True)
    if options.out is not None:
        loads = [asdict(one) for one in found]
        report.write(options.out, ran, {"machine": asdict(machine), "fit_error": error, "loads": loads})
    own = [one.errors for one in found if one.machine == "this run"]
    told = f"within {MEAN:.0%} of the mean and {P95:.0%} of the 95th percentile, fitted on each run's own passes"
    if any(abs(mean) > MEAN or abs(p95) > P95 for mean, p95 in own):
        raise SystemExit(f"Not {told}.")
    print(f"All {told}.")


if __name__ == "__main__":
    main()
