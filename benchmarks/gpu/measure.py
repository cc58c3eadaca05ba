"""Measures the ExLlamaV2 engine on this machine's GPU: decoding, probing, forking, against generator and roofline.

A stage of `benchmarks/gpu.sh`. The model is one that is named, or a random one with as many layers of Qwen3-8B as fit;
a step's time depends on the model's shape, not on the values of its weights. Each figure is written as it comes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.gpu.big_model import LAYERS, layers_that_fit, save_model
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.rivals import EngineRun, GeneratorRun
from benchmarks.gpu.scratch import RoomError, scratch_folder
from engine.base import Engine, Finished, ProbeSpec, Request, Tokens
from engine.checkpoint import read_config
from engine.exllama.config import CacheType, ExLlamaConfig, ProbeWay
from engine.exllama.load import WORKING, ExLlamaModel, cache_bytes, gpu_bytes, load_exllama, weights_bytes
from experiments.calibration.step_times import TimedBatch, decode_steps, fit, probe_seconds

if TYPE_CHECKING:
    from engine.exllama.engine import ExLlamaEngine

ROWS = (1, 4, 5, 8, 32, 33)  # ExLlamaV2's kernels take slabs of 4 rows, and another path beyond 32
CONTEXTS = (256, 1024, 2048)
SUFFIX, ANSWER = 8, 8  # tokens of a probe
COPIED = 195  # cells of the last page, which closing a thought copies at 700 tokens
CELLS = 49_152
FORKS = 8  # adoptions that are timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The GPU that gave the figures; figures of a data-centre GPU do not hold for a consumer GPU."""

    name: str
    memory_gib: float
    capability: str
    cuda: str | None
    driver: str
    copy_gb_s: float  # GB read and written per second by a large copy
    flash_attention: str  # the implementation: flash-attn or torch
    exllamav2: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One decoding step of `rows` sequences."""

    rows: int
    context: float  # mean cached tokens of a sequence
    seconds: float
    tokens_s: float
    of_roofline: float  # share of the time that moving weights, keys and values alone would take


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCosts:
    """The mean cost of one of `sequences` probes that start together, over the steps until all have answered."""

    way: ProbeWay
    sequences: int
    seconds: float
    rows: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The same greedy jobs in the engine and in ExLlamaV2's own generator, timed once all are past their prefill."""

    jobs: int
    engine_tokens_s: float
    generator_tokens_s: float
    ratio: float
    same_tokens: float  # share of jobs in which both agree to the end


def timed(work: Callable[[], object], repeats: int) -> float:
    """Returns the median seconds of `work`, with the GPU idle before and after."""
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def device() -> Device:
    """Describes this machine's GPU; ExLlamaV2 must have been imported."""
    from exllamav2 import attn

    packaged = attn.flash_attn_with_kvcache.__module__.startswith("flash_attn")
    properties = torch.cuda.get_device_properties(0)
    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    for _ in range(3):
        other.copy_(big)
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return Device(
        name=properties.name,
        memory_gib=properties.total_memory / 2**30,
        capability=f"{properties.major}.{properties.minor}",
        cuda=torch.version.cuda,
        driver=asked.stdout.strip() or "unknown",
        copy_gb_s=2 * big.numel() / timed(lambda: other.copy_(big), 20) / 1e9,
        flash_attention="flash-attn" if packaged else "torch",
        exllamav2=version("exllamav2"),
    )


class GpuBench:
    """Measures one model and its cache under engines of several sizes."""

    def __init__(self, loaded: ExLlamaModel, config: ExLlamaConfig, *, seed: int) -> None:
        self._loaded = loaded
        self._config = config
        self._rng = np.random.default_rng(seed)

    def engine(self, rows: int, way: ProbeWay = ProbeWay.AUTO) -> ExLlamaEngine:
        from engine.exllama.engine import ExLlamaEngine

        return ExLlamaEngine(self._loaded, replace(self._config, max_batch=rows, max_probes=rows, way=way))

    def prompts(self, count: int, length: int) -> list[tuple[int, ...]]:
        drawn = self._rng.integers(0, self._loaded.vocabulary, (count, length))
        return [tuple(row) for row in drawn.tolist()]

    def decode(self, rows: int, context: int) -> TimedBatch:
        """Times a decoding step of `rows` sequences."""
        return decode_steps(self.engine(rows), self.prompts(rows, context), time.perf_counter)

    def probe(self, sequences: int, way: ProbeWay) -> ProbeCosts:
        """Times probes of `sequences` sequences at once."""
        spec = ProbeSpec(
            suffix=self.prompts(1, SUFFIX)[0], max_answer_tokens=ANSWER, answer_stops=frozenset(), give_up_below=0.0
        )
        seconds, rows = probe_seconds(
            self.engine(sequences, way), self.prompts(sequences, 512), spec, time.perf_counter, rounds=4
        )
        return ProbeCosts(way=way, sequences=sequences, seconds=seconds, rows=rows)

    def copy_seconds(self) -> float:
        """Returns the seconds that copying COPIED cells of a page's keys and values takes, all layers."""
        cache = self._loaded.cache
        return timed(lambda: cache.copy_states(cache, 0, COPIED, 1024, COPIED, 0, 1, 0, 1), 50)

    def fork(self, length: int) -> dict[str, float]:
        """Times closing the thought of one sequence, behind a prompt of `length` tokens."""
        (prompt,), (closing,) = self.prompts(1, length), self.prompts(1, SUFFIX)
        return {"context": length, **closing_seconds(self.engine(1), prompt, closing, torch.cuda.synchronize)}

    def against_generator(self, jobs: int) -> Raw:
        """Times engine and generator in turns, twice each, on prompts that neither has in its cache."""
        ours, theirs, same = [], [], []
        for _ in range(2):
            asked = self.prompts(jobs, 256)
            engine, generator = EngineRun(self.engine(jobs), asked), GeneratorRun(self._loaded, self._config, asked)
            ours.append(engine.decode())
            theirs.append(generator.decode())
            same.append(sum(a == b for a, b in zip(engine.tokens(), generator.tokens(), strict=True)) / jobs)
        return Raw(
            jobs=jobs,
            engine_tokens_s=statistics.mean(ours),
            generator_tokens_s=statistics.mean(theirs),
            ratio=statistics.mean(ours) / statistics.mean(theirs),
            same_tokens=statistics.mean(same),
        )


def closing_seconds(
    engine: Engine, prompt: tuple[int, ...], closing: tuple[int, ...], synchronise: Callable[[], object]
) -> dict[str, float]:
    """Returns the medians of a plain step of one sequence, and of forcing `closing` until the next sampled token."""
    sequence = engine.submit(Request(prompt=prompt, max_new_tokens=FORKS * (len(closing) + 3) + 8))
    plain, closed = [], []

    def step_until_sampled() -> float:
        synchronise()
        start, sampled = time.perf_counter(), False
        while not sampled:
            events = engine.step()
            assert not any(isinstance(event, Finished) for event in events), "the sequence was given too few tokens"
            sampled = any(isinstance(event, Tokens) and not event.forced for event in events)
        synchronise()
        return time.perf_counter() - start

    step_until_sampled()  # the prefill
    for _ in range(FORKS):
        plain.append(step_until_sampled())
        engine.force(sequence, closing)
        closed.append(step_until_sampled())
    engine.cancel(sequence)
    return {"plain_step_s": statistics.median(plain), "closing_s": statistics.median(closed)}


class Roofline:
    """Relates a step's time to that of moving its weights, keys and values at the speed of a large copy."""

    def __init__(self, directory: Path, gpu: Device) -> None:
        self.shape = read_config(directory, frozenset({"exl2", "gptq"}))
        self._weights = gpu_bytes(directory, self.shape)
        self._cell = cache_bytes(self.shape, 1, CacheType.FP16)
        self._bytes_s = gpu.copy_gb_s * 1e9

    def of(self, step: TimedBatch) -> Decoded:
        """Returns a step's figures."""
        least = (self._weights + step.batch * step.context * self._cell) / self._bytes_s
        return Decoded(
            rows=step.batch,
            context=step.context,
            seconds=step.seconds,
            tokens_s=step.batch / step.seconds,
            of_roofline=least / step.seconds,
        )


def measure(directory: Path, seed: int, journal: Journal) -> None:
    """Measures all figures of one model, the most wanted ones first."""
    config = ExLlamaConfig(cells=CELLS, cache=CacheType.FP16)
    start = time.perf_counter()
    loaded = load_exllama(directory, config)
    loading_s = time.perf_counter() - start
    gpu = device()
    roofline, bench = Roofline(directory, gpu), GpuBench(loaded, config, seed=seed)
    journal.add("device", asdict(gpu))
    quantisation = getattr(roofline.shape, "quantization_config", None) or {}
    journal.add(
        "model",
        {
            "layers": roofline.shape.num_hidden_layers,
            "weights_bytes": weights_bytes(directory),
            "bits": quantisation.get("bits", 16),
            "loading_s": loading_s,
        },
    )
    bench.decode(1, CONTEXTS[0])  # kernels choose their shapes the first time
    steps = decoded(bench, [(rows, CONTEXTS[0]) for rows in ROWS])
    journal.add("decode_by_rows", [asdict(roofline.of(step)) for step in steps])
    plant = decoded(bench, [(rows, context) for rows in (1, 4, 8, 16) for context in CONTEXTS])
    journal.add("decode_by_context", [asdict(roofline.of(step)) for step in plant])
    if find_spec("scipy") is not None:  # else it can be fitted to decode_by_context afterwards
        journal.add("plant", asdict(fit(plant)))
    journal.add("page_copy_s", bench.copy_seconds())
    journal.add("fork", bench.fork(700))
    costs = [
        asdict(bench.probe(sequences, way))
        for sequences in (1, 4, 8, 16)
        for way in (ProbeWay.STOCK, ProbeWay.BATCHED, ProbeWay.RIDING)
    ]
    journal.add("probes", costs)
    journal.add("against_generator", [asdict(bench.against_generator(jobs)) for jobs in (1, 8, 32)])


def decoded(bench: GpuBench, points: Sequence[tuple[int, int]]) -> list[TimedBatch]:
    """Times a step at each (rows, context)."""
    return [bench.decode(rows, context) for rows, context in points]


@contextmanager
def random_model(scratch: Sequence[Path], seed: int, most: int = LAYERS) -> Iterator[Path]:
    """Within the block, a random model of at most `most` layers of Qwen3-8B lies in the returned directory.

    Raises RoomError if not one layer fits the GPU or a scratch folder.
    """
    folder, room = scratch_folder(scratch)
    memory = torch.cuda.mem_get_info(0)[0]
    layers = min(most, layers_that_fit(memory, room, CELLS, WORKING))
    if not layers:
        raise RoomError(
            f"not one layer of Qwen3-8B fits: {memory / 2**30:.1f} GiB of the GPU and {room / 2**30:.1f} GiB in "
            f"{folder} are free"
        )
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        yield save_model(Path(directory), layers, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory instead of the random one")
    parser.add_argument("--scratch", type=Path, action="append", default=[], help="where the random model may lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    journal = Journal(arguments.out)
    if arguments.model is not None:
        measure(arguments.model, arguments.seed, journal)
        return
    start = time.perf_counter()
    try:
        with random_model(arguments.scratch, arguments.seed) as directory:
            journal.add("writing_s", time.perf_counter() - start)
            measure(directory, arguments.seed, journal)
    except RoomError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
