"""Runs a thousand requests through the serving loop, a fifth of them cancelled: memory must stay flat, all must end."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.support import report
from benchmarks.support.bundled import bundled_gguf
from benchmarks.support.memory import growth
from controller.policy import Limits
from controller.serving.loop import ServingLoop
from controller.serving.reply import Delta
from controller.serving.request import ExitReason, Outcome, ReasoningRequest, RequestId
from engine.base import Engine, EngineLoad, FinishReason, Sampling

GROWTH = 8.0  # MiB by which resident memory may grow after the warm-up: noise
QUESTION = "If a train has 12 cars and each car holds 7 boxes how many boxes are there in all when 3 are lost ?"


class Fickle:
    """A policy with random limits, so that with any model some probes are adopted and some are not.

    It keeps to a signal for a while: a probe closes a thought only if its end is read by the signal that asked for it.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._by_margin = False

    def limits(self, difficulty: str | None) -> Limits:
        budget = 50 if self._rng.random() < 0.01 else 400
        if self._rng.random() < 0.02:
            self._by_margin = not self._by_margin
        if self._by_margin:
            return Limits(margin=float(self._rng.choice([0.5, 5.0, 50.0])), budget=budget)
        threshold = self._rng.choice([1e-6, 0.3, 0.9, 1.1], p=[0.7, 0.1, 0.1, 0.1])
        return Limits(threshold=float(threshold), budget=budget)


@dataclass(slots=True)
class Client:
    """Receives one request's reply. Raises AssertionError if something comes after the request is over."""

    cancel_after: int | None  # deltas; None: never
    text: int = 0  # characters received
    deltas: int = 0
    outcome: Outcome | None = None
    cancelled: bool = False

    def __call__(self, news: Delta | Outcome) -> None:
        if self.outcome is not None or self.cancelled:
            raise AssertionError(f"{news} for a request that is over")
        if isinstance(news, Delta):
            self.deltas += 1
            self.text += len(news.text)
        else:
            self.outcome = news


@dataclass(slots=True)
class EngineSoak:
    """A run: its clients, and samples of the resident memory, (requests over, MiB)."""

    clients: dict[RequestId, Client] = field(default_factory=dict)
    memory: list[tuple[int, float]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """MiB by which memory grew after the warm-up."""
        return growth(self.memory)


def run(
    loop: ServingLoop,
    make: Callable[[np.random.Generator], ReasoningRequest],
    *,
    requests: int,
    outstanding: int,
    rng: np.random.Generator,
    sample: Callable[[int], float],
) -> EngineSoak:
    """Keeps `outstanding` requests in the loop until `requests` are over; calls `sample` for the memory, MiB."""
    soak, over, every = EngineSoak(), 0, max(1, requests // 40)
    live: set[RequestId] = set()
    while over < requests:
        while len(live) < outstanding and len(soak.clients) < requests:
            cancels = rng.random() < 0.2
            client = Client(cancel_after=int(rng.integers(0, 60)) if cancels else None)
            sequence = loop.submit(make(rng), client)
            soak.clients[sequence] = client
            live.add(sequence)
        loop.tick()
        for sequence in list(live):
            client = soak.clients[sequence]
            if client.outcome is None and client.cancel_after is not None and client.deltas >= client.cancel_after:
                loop.cancel(sequence)
                client.cancelled = True
            if client.outcome is not None or client.cancelled:
                live.discard(sequence)
                over += 1
                if over % every == 0:
                    soak.memory.append((over, sample(over)))
    return soak


def check(soak: EngineSoak, load: EngineLoad) -> list[str]:
    """Returns what is wrong at the end; empty: all is well."""
    faults = []
    if load.running or load.waiting or load.probing or load.cells_reserved:
        faults.append(f"the engine still holds something: {load}")
    unheard = [sequence for sequence, client in soak.clients.items() if not client.cancelled and client.outcome is None]
    if unheard:
        faults.append(f"{len(unheard)} requests never ended: {unheard[:5]}")
    outcomes = [client.outcome for client in soak.clients.values() if client.outcome is not None]
    failed = [outcome.error for outcome in outcomes if outcome.finish_reason is FinishReason.ERROR]
    if failed:
        faults.append(f"{len(failed)} requests failed: {failed[0]}")
    silent = sum(client.outcome is not None and not client.text for client in soak.clients.values())
    if silent:
        faults.append(f"{silent} requests ended without a word")
    if soak.growth > GROWTH:
        faults.append(f"memory grew by {soak.growth:.1f} MiB after the warm-up, at most {GROWTH} are noise")
    return faults


def _engine(directory: Path, cells: int) -> Engine:
    """Opens the torch engine on a directory, the llama.cpp engine on a GGUF file."""
    if directory.is_dir():
        from engine.torch.engine import TorchEngine, TorchEngineConfig
        from engine.torch.load import load_model

        return TorchEngine(load_model(directory), TorchEngineConfig(cells=cells, prefill_chunk=128))
    from engine.llamacpp.config import LlamaConfig
    from engine.llamacpp.engine import LlamaEngine
    from engine.llamacpp.model import LlamaModel, LoadSettings

    model = LlamaModel(directory, LoadSettings(repack=False))
    return LlamaEngine(model, LlamaConfig(cells=cells, prefill_chunk=128))


def main() -> None:
    """Command line: run, print memory over time, and fail if anything was left over."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory or GGUF file (default: the bundled model)")
    parser.add_argument("--llamacpp", action="store_true", help="the bundled model as a GGUF file, in llama.cpp")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--outstanding", type=int, default=48, help="requests in the loop at any time")
    parser.add_argument("--max-tokens", type=int, default=320, help="the longest reply, tokens")
    parser.add_argument(
        "--cells", type=int, default=6144, help="KV cells: few, so that requests queue and the arena fragments"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()

    import psutil
    import torch

    from models.chat_model import load_chat_model
    from models.reasoner import bundled_model

    torch.set_num_threads(1)
    ran = report.circumstances("benchmarks.soak", options.seed)
    with TemporaryDirectory() as folder:
        directory = options.model or (bundled_gguf(Path(folder)) if options.llamacpp else bundled_model())
        chat, engine = load_chat_model(directory), _engine(directory, options.cells)
    loop = ServingLoop(
        engine=engine,
        tokenizer=chat.tokenizer,
        thinking=chat.thinking,
        policy=Fickle(np.random.default_rng(options.seed + 1)),
        stop_tokens=chat.stop_tokens,
        clock=time.monotonic,
    )
    process = psutil.Process()

    def make(rng: np.random.Generator) -> ReasoningRequest:
        question = " ".join(rng.choice(QUESTION.split(), int(rng.integers(3, 40))))
        return ReasoningRequest(
            prompt=chat.prompt([{"role": "user", "content": question}]),
            max_tokens=int(rng.integers(1, options.max_tokens + 1)),
            thinking=bool(rng.random() < 0.9),
            sampling=Sampling(temperature=float(rng.choice([0.0, 0.8])), seed=int(rng.integers(0, 2**31))),
            stop=("zz",) if rng.random() < 0.2 else (),
        )

    def sample(over: int) -> float:
        mebibytes = float(process.memory_info().rss / 2**20)
        load = engine.load()
        print(
            f"{over:>6} requests over   {mebibytes:8.1f} MiB   {load.running:>3} running {load.waiting:>3} waiting "
            f"{load.probing:>3} probing   {load.cells_reserved / load.cells_total:4.0%} of the cells",
            flush=True,
        )
        return mebibytes

    rng = np.random.default_rng(options.seed)
    start = time.monotonic()
    soak = run(loop, make, requests=options.requests, outstanding=options.outstanding, rng=rng, sample=sample)
    outcomes = [client.outcome for client in soak.clients.values() if client.outcome is not None]
    thoughts = [outcome.thought for outcome in outcomes if outcome.thought.exit_reason is not None]
    exits = Counter(str(thought.exit_reason) for thought in thoughts)
    summary = {
        "requests": len(soak.clients),
        "cancelled": sum(client.cancelled for client in soak.clients.values()),
        "probes": sum(thought.probes for thought in thoughts),
        "adopted": exits[str(ExitReason.CONFIDENCE)] + exits[str(ExitReason.MARGIN)],
        "exits": dict(exits),
        "memory_growth_mib": round(soak.growth, 1),
        "seconds": round(time.monotonic() - start, 1),
        "memory_mib": soak.memory,
    }
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in summary.items() if key != "memory_mib"))
    faults = check(soak, engine.load())
    if occupied := getattr(engine, "occupied", 0):
        faults.append(f"{occupied} sequences of llama.cpp still hold cells")
    if options.out is not None:
        report.write(options.out, ran, {**summary, "load": asdict(engine.load()), "faults": faults})
    if faults:
        raise SystemExit("\n".join(faults))
    print("The arena is empty, every request has ended, memory is flat.")


if __name__ == "__main__":
    main()
