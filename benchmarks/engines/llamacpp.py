"""Compares the llama.cpp engine with a bare loop over llama.cpp in one run, and prices what probes cost it.

Contestants take turns step by step, so what else runs on the machine slows all alike. One thread computes; rates are by
its CPU time, ratios medians over repeats. `--server` asks servers over HTTP instead, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.support import report
from benchmarks.support.bundled import bundled_gguf
from benchmarks.support.clients import Throughput, throughput
from benchmarks.support.llama_loop import BareLlamaLoop, TimedDecode
from engine.base import Probed, ProbeSpec, Request, SequenceId, Tokens
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.engine import LlamaEngine
from engine.llamacpp.model import LlamaModel, LoadSettings
from engine.llamacpp.price import RowPrice, row_price

Result = TypeVar("Result")

PROMPT, SUFFIX, ANSWER = 200, 6, 4  # tokens
OF_BARE = 0.95  # least rate of the engine over the bare loop's
OF_ROWS = 1.05  # most time of the engine for its rows over that of a bare loop for the same rows
SHARE = 0.08  # most of a thought's time that probes may take
FORK_US = 50.0  # most time of a fork and a drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Decoding `batch` sequences, tokens/s."""

    batch: int
    engine: float
    bare_loop: float
    engine_over_bare_loop: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbingCost:
    """What probes cost `batch` thoughts, under the price that the engine tells."""

    batch: int
    share: float  # of the time with probes, what they take
    probes_per_thought: float
    over_decode: float  # time for all rows, those of probes too, over what llama_decode alone takes of it
    over_bare: float  # time for all rows over what llama_decode takes of it and what a bare loop adds to a step


class LlamaRun:
    """The engine with all sequences past their prefill; with `probe_rows`, each is probed as the loop would."""

    def __init__(self, model: LlamaModel, batch: int, new_tokens: int, seed: int, *, probe_rows: float | None) -> None:
        rng = np.random.default_rng(seed)
        room = SUFFIX + ANSWER + 1
        config = LlamaConfig(cells=batch * (PROMPT + new_tokens + room), max_batch=batch, prefill_chunk=PROMPT)
        self.engine = LlamaEngine(model, config, probe_rows=probe_rows)
        self.tokens: dict[SequenceId, int] = {}
        self.rows: dict[SequenceId, int] = {}
        self.asked = 0
        self._probed: set[SequenceId] = set()
        self._spec = ProbeSpec(
            suffix=tuple(rng.integers(0, model.vocabulary, SUFFIX).tolist()),
            max_answer_tokens=ANSWER,
            answer_stops=frozenset(),
        )
        for _ in range(batch):
            prompt = tuple(rng.integers(0, model.vocabulary, PROMPT).tolist())
            request = Request(prompt=prompt, max_new_tokens=new_tokens, probe_room=room)
            self.tokens[self.engine.submit(request)] = 0
        while not all(self.tokens.values()):
            self.step()

    def step(self) -> None:
        """Runs one step, and forks the probes that are due."""
        for event in self.engine.step():
            if isinstance(event, Tokens):
                self.tokens[event.sequence] += len(event.tokens)
                self._ask(event.sequence)
            elif isinstance(event, Probed):
                self._probed.discard(event.sequence)
                self.rows[event.sequence] = self.rows.get(event.sequence, 0) + event.rows

    def _ask(self, sequence: SequenceId) -> None:
        allowed = self.engine.capabilities.probe_rows
        needed = self.rows.get(sequence, 0) + SUFFIX + ANSWER
        if allowed is None or needed > allowed * self.tokens[sequence] or sequence in self._probed:
            return
        self.engine.fork(sequence, self._spec)
        self._probed.add(sequence)
        self.asked += 1


def in_turns(contestants: Sequence[Callable[[], object]], steps: int) -> list[float]:
    """Returns the CPU seconds that each contestant takes for `steps` steps; the first one changes from step to step."""
    spent = [0.0] * len(contestants)
    for step in range(steps):
        for turn in range(len(contestants)):
            at = (turn + step) % len(contestants)
            began = time.process_time()
            contestants[at]()
            spent[at] += time.process_time() - began
    return spent


def decoding(model: LlamaModel, batch: int, *, steps: int, repeats: int, seed: int) -> Decoding:
    """Measures plain decoding of `batch` sequences."""
    engine_rates, bare_rates = [], []
    for repeat in range(repeats):
        engine = LlamaRun(model, batch, steps + 8, seed + repeat, probe_rows=None)
        bare = BareLlamaLoop(model, batch, PROMPT, steps + 8, seed + repeat)
        ours, theirs = in_turns((engine.step, bare.step), steps)
        engine_rates.append(batch * steps / ours)
        bare_rates.append(batch * steps / theirs)
    return Decoding(
        batch=batch,
        engine=statistics.median(engine_rates),
        bare_loop=statistics.median(bare_rates),
        engine_over_bare_loop=statistics.median(a / b for a, b in zip(engine_rates, bare_rates, strict=True)),
    )


def probing(model: LlamaModel, batch: int, price: RowPrice, *, steps: int, repeats: int, seed: int) -> ProbingCost:
    """Measures what probes cost `batch` thoughts of `steps` tokens."""
    shares, asked, over_decode, over_bare = [], 0, [], []
    for repeat in range(repeats):
        with TimedDecode(model.library) as timed:
            plain = LlamaRun(model, batch, steps + 8, seed + repeat, probe_rows=None)
            probed = LlamaRun(model, batch, steps + 8, seed + repeat, probe_rows=price.probe_rows(SHARE))
            bare = BareLlamaLoop(model, batch, PROMPT, steps + 8, seed + repeat)
            ours, theirs = timed.of(probed.step), timed.of(bare.step)
            without, with_probes, alone = in_turns((plain.step, ours.step, theirs.step), steps)
        shares.append(1.0 - without / with_probes)
        asked += probed.asked
        over_decode.append(with_probes / ours.decoding_s)
        over_bare.append(with_probes / (ours.decoding_s + alone - theirs.decoding_s))
    return ProbingCost(
        batch=batch,
        share=statistics.median(shares),
        probes_per_thought=asked / repeats / batch,
        over_decode=statistics.median(over_decode),
        over_bare=statistics.median(over_bare),
    )


def fork_and_drop_us(model: LlamaModel, context: int, seed: int, *, times: int = 200) -> float:
    """Returns the microseconds of one fork and one drop on a sequence of `context` tokens."""
    rng = np.random.default_rng(seed)
    engine = LlamaEngine(model, LlamaConfig(cells=context + 64, max_batch=1, prefill_chunk=256))
    prompt = tuple(rng.integers(0, model.vocabulary, context).tolist())
    sequence = engine.submit(Request(prompt=prompt, max_new_tokens=32, probe_room=12))
    while not any(isinstance(event, Tokens) for event in engine.step()):
        pass
    spec = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset())
    began = time.perf_counter()
    for _ in range(times):
        engine.drop(engine.fork(sequence, spec))
    return (time.perf_counter() - began) / times * 1e6


def table(results: dict[str, object]) -> str:
    """Formats the results as text, each beside its target."""
    lines = [f"{results['model']}", "Decoding, tokens/s", f"{'B':>3}  {'engine':>8}  {'bare loop':>9}  engine/bare"]
    for one in _of(results, "decoding", Decoding):
        ratio = _verdict(one.engine_over_bare_loop, one.engine_over_bare_loop >= OF_BARE, f"≥ {OF_BARE}")
        lines.append(f"{one.batch:>3}  {one.engine:>8.1f}  {one.bare_loop:>9.1f}  {ratio}")
    (price,) = _of(results, "price", RowPrice)
    lines += [
        "",
        f"A step of 1 row takes {price.first_s * 1e3:.2f} ms, each row more {price.more_s * 1e3:.2f} ms, "
        f"another number of rows {price.change_s * 1e3:.2f} ms: {price.probe_rows(SHARE):.3f} rows of probes a token",
    ]
    lines += ["", "Probes"]
    lines += [f"{'B':>3}  {'of the time':>18}  {'a thought':>9}  {'all rows/bare loop':>18}  all rows/llama_decode"]
    for cost in _of(results, "probing", ProbingCost):
        share = _verdict(cost.share, cost.share <= SHARE, f"≤ {SHARE}")
        rows = _verdict(cost.over_bare, cost.over_bare <= OF_ROWS, f"≤ {OF_ROWS}")
        lines.append(
            f"{cost.batch:>3}  {share:>18}  {cost.probes_per_thought:>9.1f}  {rows:>18}  {cost.over_decode:.3g}"
        )
    forks = results["fork_and_drop_us"]
    assert isinstance(forks, dict)
    lines += [""]
    for context, spent in forks.items():
        lines.append(f"fork and drop with {context} tokens: {_verdict(spent, spent < FORK_US, f'< {FORK_US:.0f} µs')}")
    return "\n".join(lines)


def _of(results: dict[str, object], name: str, kind: type[Result]) -> list[Result]:
    found = results[name]
    assert isinstance(found, list)
    assert all(isinstance(one, kind) for one in found)
    return found


def _verdict(value: float, kept: bool, target: str) -> str:
    return f"{value:.3g} {target} {'✓' if kept else '✗'}"


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines.llamacpp", description=__doc__)
    parser.add_argument("--file", type=Path, help="GGUF file (default: the bundled model, written as one)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 32], help="sequences at once")
    parser.add_argument("--repeats", type=int, default=3, help="how often each measurement is repeated")
    parser.add_argument("--steps", type=int, default=100, help="decoding steps of each measurement")
    parser.add_argument("--thought", type=int, default=300, help="tokens of the thoughts that are probed")
    parser.add_argument("--plain", action="store_true", help="do not rearrange the weights for this CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", nargs="+", default=[], help="addresses of servers to ask instead, in turns")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8], help="with --server: clients at once")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()

    ran = report.circumstances("benchmarks.engines.llamacpp", options.seed)
    if options.server:
        served = throughput(options.server, options.clients, repeats=options.repeats, tokens=options.steps)
        print(_served(served))
        results: object = [asdict(one) for one in served]
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = _measured(options.file or bundled_gguf(Path(folder)), options)
        print(table(found))
        results = {name: [asdict(one) for one in v] if isinstance(v, list) else v for name, v in found.items()}
    if options.out is not None:
        report.write(options.out, ran, results)


def _measured(file: Path, options: argparse.Namespace) -> dict[str, object]:
    model = LlamaModel(file, LoadSettings(repack=not options.plain))
    repeats, seed = options.repeats, options.seed
    price = row_price(model, LlamaConfig())
    return {
        "model": f"{file.name}: {model.described}, llama.cpp {model.library.version}",
        "decoding": [decoding(model, b, steps=options.steps, repeats=repeats, seed=seed) for b in options.batches],
        "price": [price],
        "probing": [probing(model, b, price, steps=options.thought, repeats=repeats, seed=seed) for b in (1, 8)],
        "fork_and_drop_us": {context: fork_and_drop_us(model, context, seed) for context in (200, 1000)},
    }


def _served(found: Sequence[Throughput]) -> str:
    lines = ["Tokens/s over HTTP", f"{'clients':>7}  {'server':<32}  {'tokens/s':>8}  over the first"]
    lines += [f"{one.clients:>7}  {one.server:<32}  {one.tokens_s:>8.1f}  {one.over_first:.3f}" for one in found]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
