"""Compares the torch engine with its rivals in one run: decoding rate, and the cost of probing.

Everything is compared in pairs: contestants take turns step by step if they can be stepped, else run by run, and each
ratio is the median over repeats. Rates and ratios are by CPU time of the process, which computes with one thread, so
other processes on the machine shift them little. Wall-clock rates are given beside them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.support import report
from benchmarks.support.rivals import BareLoop, ContinuousBatching
from benchmarks.support.workload import VOCABULARY, Spent, Stopwatch, prompts, save_model
from engine.base import Probed, ProbeSpec, Request, SequenceId, Tokens
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.packed import PackedModel

PROBE_EVERY, SUFFIX, ANSWER = 25, 6, 4  # tokens
AT_LEAST = {1: 2.0, 8: 3.5, 32: 4.0}  # by batch: target for the engine's rate over continuous batching's
OF_BARE = 0.92  # target for the engine's rate over the bare loop's
PROBING = {8: 1.20, 32: 1.20}  # by batch: target for the time with probes over the time without, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Tokens/s, by CPU time and by the wall clock."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """Results with `batch` sequences; rates are medians over repeats, ratios medians of paired ratios."""

    batch: int
    continuous_batching: Rate
    engine: Rate
    bare_loop: Rate
    engine_over_continuous_batching: float
    engine_over_bare_loop: float
    probing: float  # time per token with probes, relative to without
    probing_with_give_up: float
    same_tokens: float  # share of sequences whose greedy tokens equal continuous batching's


class DecodingRun:
    """The torch engine with all sequences past their prefill, so that every step is a decoding step."""

    def __init__(self, model: PackedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        room = SUFFIX + ANSWER + 1
        cells = sum(len(prompt) + new_tokens + room for prompt in prompts)
        self.engine = TorchEngine(model, TorchEngineConfig(cells=cells, max_batch=len(prompts), prefill_chunk=cells))
        self.tokens: dict[SequenceId, list[int]] = {}
        for prompt in prompts:
            request = Request(prompt=tuple(prompt), max_new_tokens=new_tokens, probe_room=room)
            self.tokens[self.engine.submit(request)] = []
        while not all(self.tokens.values()):
            self.step()

    def step(self) -> int:
        """Runs one step; returns the number of new tokens."""
        count = 0
        for event in self.engine.step():
            if isinstance(event, Tokens):
                self.tokens[event.sequence].extend(event.tokens)
                count += len(event.tokens)
        return count


class Probing(DecodingRun):
    """A DecodingRun that probes every sequence every PROBE_EVERY tokens; no answer is ever adopted."""

    def __init__(
        self, model: PackedModel, prompts: Sequence[Sequence[int]], new_tokens: int, *, give_up_below: float
    ) -> None:
        self.asked = self.gave_up = 0
        super().__init__(model, prompts, new_tokens)
        rng = np.random.default_rng(0)
        self._spec = ProbeSpec(
            suffix=tuple(rng.integers(0, VOCABULARY, SUFFIX).tolist()),
            max_answer_tokens=ANSWER,
            answer_stops=frozenset(),
            give_up_below=give_up_below,
        )
        # each sequence has its own phase, as thoughts do
        self._due = {sequence: int(rng.integers(1, PROBE_EVERY + 1)) for sequence in self.tokens}
        self._prefilled = True

    def step(self) -> int:
        count = 0
        for event in self.engine.step():
            if isinstance(event, Tokens):
                self.tokens[event.sequence].extend(event.tokens)
                count += len(event.tokens)
                if hasattr(self, "_prefilled"):
                    self._ask(event.sequence)
            elif isinstance(event, Probed):
                self.gave_up += event.gave_up
        return count

    def _ask(self, sequence: SequenceId) -> None:
        self._due[sequence] -= 1
        if self._due[sequence] == 0:
            self._due[sequence] = PROBE_EVERY
            self.engine.fork(sequence, self._spec)
            self.asked += 1


def against_bare_loop(
    model: PackedModel, asked: Sequence[Sequence[int]], steps: int
) -> tuple[Spent, Spent, list[list[int]]]:
    """Returns the time of `steps` steps of the engine and of the bare loop, in turns, and the engine's tokens."""
    engine, bare = DecodingRun(model, asked, steps + 400), BareLoop(model, asked, steps + 400)
    contestants, watches = (engine, bare), (Stopwatch(), Stopwatch())
    for step in range(steps):
        for turn in range(2):
            at = (turn + step) % 2  # so that neither always finds the other's data in the CPU caches
            with watches[at]:
                contestants[at].step()
    return watches[0].spent, watches[1].spent, list(engine.tokens.values())


def probing_cost(model: PackedModel, asked: Sequence[Sequence[int]], steps: int) -> tuple[float, float]:
    """Returns CPU time relative to no probes: all probes run to their end; probes give up once 0.9 is out of reach."""
    contestants = [
        DecodingRun(model, asked, steps + 400),
        Probing(model, asked, steps + 400, give_up_below=0.0),
        Probing(model, asked, steps + 400, give_up_below=0.9),
    ]
    watches = [Stopwatch() for _ in contestants]
    for step in range(steps):
        for turn in range(3):
            at = (turn + step) % 3
            with watches[at]:
                contestants[at].step()
    none, all_, given_up = (watch.spent.cpu_s for watch in watches)
    return all_ / none, given_up / none


def measure(directory: Path, batch: int, *, repeats: int, steps: int, seed: int) -> EngineResult:
    """Measures all contestants with `batch` sequences."""
    from engine.torch.load import load_model

    rng = np.random.default_rng(seed)
    model, rival = load_model(directory), ContinuousBatching(directory)
    rates: dict[str, list[Rate]] = {"rival": [], "engine": [], "bare": []}
    over_rival, over_bare, probing, giving_up, same = [], [], [], [], []
    for _ in range(repeats):
        asked = prompts(rng, batch, steps)
        rival_tokens, rival_count, rival_spent = rival.decode(asked, steps)
        engine_spent, bare_spent, engine_tokens = against_bare_loop(model, asked, steps)
        rates["rival"].append(_rate(rival_count, rival_spent))
        rates["engine"].append(_rate(batch * steps, engine_spent))
        rates["bare"].append(_rate(batch * steps, bare_spent))
        over_rival.append(rates["engine"][-1].cpu / rates["rival"][-1].cpu)
        over_bare.append(rates["engine"][-1].cpu / rates["bare"][-1].cpu)
        same += [ours[:steps] == theirs for ours, theirs in zip(engine_tokens, rival_tokens, strict=True)]
        cost, cost_with_give_up = probing_cost(model, prompts(rng, batch, steps), max(steps, 4 * PROBE_EVERY))
        probing.append(cost)
        giving_up.append(cost_with_give_up)
    return EngineResult(
        batch=batch,
        continuous_batching=_median(rates["rival"]),
        engine=_median(rates["engine"]),
        bare_loop=_median(rates["bare"]),
        engine_over_continuous_batching=statistics.median(over_rival),
        engine_over_bare_loop=statistics.median(over_bare),
        probing=statistics.median(probing),
        probing_with_give_up=statistics.median(giving_up),
        same_tokens=sum(same) / len(same),
    )


def _rate(tokens: int, spent: Spent) -> Rate:
    return Rate(cpu=tokens / spent.cpu_s, wall=tokens / spent.wall_s)


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(cpu=statistics.median(rate.cpu for rate in rates), wall=statistics.median(rate.wall for rate in rates))


def table(results: Sequence[EngineResult]) -> str:
    """Formats the results as text, each beside its target."""
    lines = [
        "Decoding, tokens/s by CPU time (by the wall clock)",
        f"{'B':>3}  {'transformers':>15}  {'engine':>15}  {'bare loop':>15}  {'engine/transformers':>20}  "
        f"{'engine/bare':>15}  {'same tokens':>11}",
    ]
    for result in results:
        rates = (result.continuous_batching, result.engine, result.bare_loop)
        cells = "  ".join(f"{f'{rate.cpu:.0f} ({rate.wall:.0f})':>15}" for rate in rates)
        least = AT_LEAST.get(result.batch)
        lines.append(
            f"{result.batch:>3}  {cells}  "
            f"{_verdict(result.engine_over_continuous_batching, least, '≥'):>20}  "
            f"{_verdict(result.engine_over_bare_loop, OF_BARE, '≥'):>15}  {result.same_tokens:>11.0%}"
        )
    lines += [
        "",
        f"Probing every {PROBE_EVERY} tokens, CPU time relative to none (a random model always gives up)",
        f"{'B':>3}  {'to the end':>16}  {'with give-up':>16}",
    ]
    for result in results:
        most = PROBING.get(result.batch)
        lines.append(
            f"{result.batch:>3}  {_verdict(result.probing, most, '≤'):>16}  "
            f"{_verdict(result.probing_with_give_up, most, '≤'):>16}"
        )
    return "\n".join(lines)


def _verdict(value: float, target: float | None, sense: str) -> str:
    if target is None:
        return f"{value:.2f}"
    kept = value >= target if sense == "≥" else value <= target
    return f"{value:.2f} {sense} {target:.2f} {'✓' if kept else '✗'}"


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="sequences at once")
    parser.add_argument("--repeats", type=int, default=3, help="how often each measurement is repeated")
    parser.add_argument("--steps", type=int, default=100, help="decoding steps of each measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()

    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    ran = report.circumstances("benchmarks.engine", options.seed)
    with tempfile.TemporaryDirectory() as directory:
        save_model(Path(directory), options.seed)
        results = [
            measure(Path(directory), batch, repeats=options.repeats, steps=options.steps, seed=options.seed)
            for batch in options.batches
        ]
    print(table(results))
    if options.out is not None:
        report.write(options.out, ran, [asdict(result) for result in results])


if __name__ == "__main__":
    main()
