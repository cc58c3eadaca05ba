"""Measures the ExLlamaV2 engine on this machine's GPU: decoding, probing and copying, against generator and roofline.

Started by `benchmarks/gpu.sh`, which builds the extension and runs the tests first. The model is random and has as many
layers of a 7B Qwen2.5 as fit; the figures depend on its shape, not on the values of its weights.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.support import report
from benchmarks.support.big_model import KV, LAYER_BYTES, LAYERS, OTHER_BYTES, save_model
from engine.base import ProbeSpec, Request, SequenceId, Tokens
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
GENERATED = 128  # tokens of each job, engine against generator


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


def device(flash_attention: str) -> Device:
    """Describes this machine's GPU."""
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
        flash_attention=flash_attention,
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


class GreedyRun(ABC):
    """Greedy jobs, decoded to their end by one of the rivals."""

    @abstractmethod
    def step(self) -> None: ...

    @abstractmethod
    def tokens(self) -> list[list[int]]: ...

    def decode(self) -> float:
        """Decodes all jobs; returns their tokens/s until the first job ends, since its row is idle from then on."""
        while not all(self.tokens()):
            self.step()
        before, start = sum(map(len, self.tokens())), time.perf_counter()
        while all(len(tokens) < GENERATED for tokens in self.tokens()):
            self.step()
        rate = (sum(map(len, self.tokens())) - before) / (time.perf_counter() - start)
        while any(len(tokens) < GENERATED for tokens in self.tokens()):
            self.step()
        return rate


class EngineRun(GreedyRun):
    """The jobs in the engine."""

    def __init__(self, engine: ExLlamaEngine, prompts: Sequence[tuple[int, ...]]) -> None:
        self._engine = engine
        self._tokens: dict[SequenceId, list[int]] = {
            engine.submit(Request(prompt=prompt, max_new_tokens=GENERATED)): [] for prompt in prompts
        }

    def step(self) -> None:
        for event in self._engine.step():
            if isinstance(event, Tokens):
                self._tokens[event.sequence].extend(event.tokens)

    def tokens(self) -> list[list[int]]:
        return list(self._tokens.values())


class GeneratorRun(GreedyRun):
    """The jobs in ExLlamaV2's own generator, with its own sampler."""

    def __init__(self, loaded: ExLlamaModel, config: ExLlamaConfig, prompts: Sequence[tuple[int, ...]]) -> None:
        from exllamav2.generator import ExLlamaV2DynamicGenerator, ExLlamaV2DynamicJob, ExLlamaV2Sampler

        from engine.exllama.generator import NoText

        class Tokenizer(NoText):
            def get_vocab_size(self) -> int:
                return loaded.vocabulary

        self._generator = ExLlamaV2DynamicGenerator(
            loaded.model,
            loaded.cache,
            Tokenizer(),
            max_batch_size=len(prompts),
            max_chunk_size=config.prefill_chunk,
            max_q_size=1,
        )
        self._tokens: dict[int, list[int]] = {}
        for prompt in prompts:
            settings = ExLlamaV2Sampler.Settings.greedy()
            job = ExLlamaV2DynamicJob(torch.tensor([prompt]), max_new_tokens=GENERATED, gen_settings=settings)
            self._tokens[self._generator.enqueue(job)] = []

    def step(self) -> None:
        for result in self._generator.iterate():
            if "token_ids" in result:
                self._tokens[result["serial"]] += result["token_ids"][0].tolist()

    def tokens(self) -> list[list[int]]:
        return list(self._tokens.values())


def layers_that_fit(free: int, cells: int) -> int:
    """Returns how many of the big model's layers fit in `free` bytes beside a cache of `cells` cells."""
    cached = 2 * 2 * KV * cells
    return max(0, min(LAYERS, (free - OTHER_BYTES - WORKING - (1 << 30)) // (LAYER_BYTES + cached)))


def measure(directory: Path, seed: int) -> dict[str, Any]:
    """Measures all figures of one model."""
    config = ExLlamaConfig(cells=CELLS, cache=CacheType.FP16)
    loaded = load_exllama(directory, config)
    bench, shape = GpuBench(loaded, config, seed=seed), read_config(directory)
    from exllamav2 import attn

    gpu = device("flash-attn" if attn.flash_attn_with_kvcache.__module__.startswith("flash_attn") else "torch")
    moved = gpu_bytes(directory, shape)
    quantisation = getattr(shape, "quantization_config", None) or {}
    a_cell = cache_bytes(shape, 1, CacheType.FP16)

    def decoded(step: TimedBatch) -> Decoded:
        least = (moved + step.batch * step.context * a_cell) / (gpu.copy_gb_s * 1e9)
        return Decoded(
            rows=step.batch,
            context=step.context,
            seconds=step.seconds,
            tokens_s=step.batch / step.seconds,
            of_roofline=least / step.seconds,
        )

    bench.decode(1, CONTEXTS[0])  # kernels choose their shapes the first time
    steps = [bench.decode(rows, CONTEXTS[0]) for rows in ROWS]
    plant = [bench.decode(rows, context) for rows in (1, 4, 8, 16) for context in CONTEXTS]
    return {
        "device": asdict(gpu),
        "model": {
            "layers": shape.num_hidden_layers,
            "weights_bytes": weights_bytes(directory),
            "bits": quantisation.get("bits", 16),
        },
        "decode": [asdict(decoded(step)) for step in (*steps, *plant)],
        "plant": asdict(fit(plant)),
        "page_copy_s": bench.copy_seconds(),
        "probes": [
            asdict(bench.probe(sequences, way))
            for sequences in (1, 4, 8, 16)
            for way in (ProbeWay.STOCK, ProbeWay.BATCHED, ProbeWay.RIDING)
        ],
        "against_generator": [asdict(bench.against_generator(jobs)) for jobs in (1, 8, 32)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory instead of the random one")
    parser.add_argument("--scratch", type=Path, help="where the random model is written: 15 GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    ran = report.circumstances("benchmarks.gpu", arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        directory = arguments.model
        if directory is None:
            layers = layers_that_fit(torch.cuda.mem_get_info(0)[0], CELLS)
            if not layers:
                parser.error("the GPU has too little memory for one layer of a 7B model; name a smaller with --model")
            directory = save_model(Path(scratch), layers, arguments.seed)
        results = measure(directory, arguments.seed)
    report.write(arguments.out, ran, results)
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
