"""What only a GPU shows of the ExLlamaV2 engine (docs/gpu.md lists it); here the same runs on CUDA's stand-in.

`benchmarks/gpu.sh` runs them on a GPU. Limits on seconds and bytes are wide: a fault of the kind that they look for is
far beyond them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.exllama.config import ExLlamaConfig, ProbeWay
from models.reasoner import bundled_model
from tests.support.engine_requests import decode, request, spec
from tests.support.ledger import Ledger
from tests.support.on_gpu import ON_GPU, WHERE, bundled_oracle, only_gpu, open_on_gpu
from tests.support.quantised_models import save_quantised
from tests.support.tiny_models import Oracle

CELLS = 16_384
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the engine computes, and on which model."""

    engine: Callable[..., Any]  # takes sizes of ExLlamaConfig
    quantised: Callable[..., Any]  # the same on quantised weights, whose passes are recorded as graphs
    oracle: Oracle  # of the first
    steps: int  # of a long run
    used: Callable[[], int]  # bytes of the device's memory, CUDA graphs and kernels included
    held: Callable[[], int]  # bytes of tensors on the device


@pytest.fixture(scope="module", params=WHERE)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return on_gpu(tmp_path_factory.mktemp("exl2")) if request.param == "gpu" else on_stand_in()


def on_stand_in() -> Place:
    from tests.support.exllama_stub import open_exllama
    from tests.support.history_model import HistoryOracle

    def engine(**sizes: Any) -> Any:
        return open_exllama(**{"cells": 4096, "page": 8, "lease_pages": 2, **sizes})

    return Place(engine=engine, quantised=engine, oracle=HistoryOracle(), steps=80, used=lambda: 0, held=lambda: 0)


def on_gpu(directory: Path) -> Place:
    save_quantised(directory, "exl2")

    def engine(model: Path, **sizes: Any) -> Any:
        return open_on_gpu(model, ExLlamaConfig(**{"cells": CELLS, **sizes}))

    return Place(
        engine=partial(engine, bundled_model()),
        quantised=partial(engine, directory),
        oracle=bundled_oracle(),
        steps=2000,
        used=used,
        held=torch.cuda.memory_allocated,
    )


def used() -> int:
    free, total = torch.cuda.mem_get_info(0)
    return total - free


# --- runs of the engine


@pytest.mark.parametrize("current", [0, 1])
def test_another_thread_decodes_than_the_one_that_loaded(place: Place, current: int) -> None:
    """Streams and cuBLAS handles are a thread's own, and its current device may be another than the model's."""
    if current and torch.cuda.device_count() <= current:
        pytest.skip("there is no second GPU")
    ledger = Ledger(place.engine(max_batch=4))
    for seed in range(6):
        ledger.submit(request(20 + 9 * seed, 12, seed=seed))

    def run() -> None:
        if current:
            torch.cuda.set_device(current)
        ledger.run()

    for _ in range(2):  # the second thread finds the first one's keys and values
        with ThreadPoolExecutor(1) as thread:
            thread.submit(run).result()
        ledger.submit(request(38, 12, seed=2))
    ledger.run()
    ledger.verify(place.oracle)


@pytest.mark.parametrize("way", [ProbeWay.STOCK, ProbeWay.BATCHED, ProbeWay.RIDING])
def test_a_burst_of_probes_takes_more_rows_than_the_kernels_have_at_once(place: Place, way: ProbeWay) -> None:
    """36 rows a step, 18 of them probes; one sequence is far longer than the others, whose tables are mostly empty."""
    ledger = Ledger(place.engine(max_batch=18, max_probes=18, way=way))
    sequences = [ledger.submit(request(300 if seed == 3 else 6 + seed, 14, seed=seed)) for seed in range(18)]
    while not all(ledger.accounts[sequence].tokens for sequence in sequences):
        ledger.step()
    for sequence in sequences:
        if ledger.accounts[sequence].decoding:
            ledger.fork(sequence, spec())
    ledger.run()
    assert sum(asked.answer is not None for asked in ledger.asked.values()) >= 16
    ledger.verify(place.oracle)


def churn(ledger: Ledger, steps: int) -> None:
    """Keep one to eight sequences of many lengths decoding, each probed now and then, for `steps` steps."""
    for step in range(steps):
        if ledger.engine.load().running + ledger.engine.load().waiting < 1 + step // 40 % 8:
            ledger.submit(request(5 + 37 * step % 290, 20 + step % 50, seed=step))
        for sequence, account in ledger.accounts.items():
            if account.decoding and account.probe is None and (step + sequence) % 30 == 0:
                ledger.fork(sequence, spec())
        ledger.step()
        for sequence in [sequence for sequence, account in ledger.accounts.items() if account.over]:
            del ledger.accounts[sequence]


@only_gpu
def test_memory_is_flat_over_thousands_of_steps(place: Place) -> None:
    """Buffers and graphs are kept by batch size at most: nothing grows once all have been seen."""
    ledger = Ledger(place.quantised(max_batch=8))
    churn(ledger, place.steps // 2)
    before = place.used()
    churn(ledger, place.steps // 2)
    assert place.used() - before < 48 * MIB


def test_after_memory_ran_out_in_a_step_the_engine_is_as_good_as_new(place: Place) -> None:
    engine = place.engine()
    for seed in range(3):
        engine.submit(request(20, 20, seed=seed))
    for _ in range(4):
        engine.step()
    held = place.held()
    with running_out(engine._loaded.model), pytest.raises(RuntimeError, match=r"(?i)memory"):
        engine.step()
    assert place.held() - held < MIB, "the failed step's tensors are still held"
    load = engine.load()
    assert (load.running, load.waiting, load.cells_reserved) == (0, 0, 0)
    (tokens,) = decode(engine, request(20, 20))
    place.oracle.assert_continues(request(20).prompt, tokens)


@contextmanager
def running_out(model: Any) -> Iterator[None]:
    """Within the block each pass of the model ends with more memory asked for than there is."""
    forward = model.forward_chunk

    def greedy(*arguments: Any, **options: Any) -> Any:
        logits = forward(*arguments, **options)
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda" if ON_GPU else "cpu")
        return logits

    model.forward_chunk = greedy
    try:
        yield
    finally:
        del model.forward_chunk


# --- a fresh process

COLD = """
import os, threading, time
import torch
from engine.base import EngineBrokenError
from engine.exllama.config import ExLlamaConfig
from engine.exllama.load import load_exllama
from models.reasoner import bundled_model
from tests.support.engine_requests import request

config = ExLlamaConfig(cells=16384)
loaded = load_exllama(bundled_model(), config)
from engine.exllama.engine import ExLlamaEngine
engine, seconds, broken = ExLlamaEngine(loaded, config), [], []

def serve():
    for rows in range(1, 9):
        engine.submit(request(20 + rows, 200, seed=rows))
        for _ in range(12):
            start = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - start)
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]  # out of bounds: CUDA fails for good
    try:
        engine.step()
    except EngineBrokenError as error:
        broken.append(error)

thread = threading.Thread(target=serve)
thread.start()
thread.join()
print("FIGURES", seconds[0], max(seconds[1:]), sorted(seconds)[len(seconds) // 2], len(broken), flush=True)
os._exit(0)  # what CUDA has left cannot be taken down in order
"""


@only_gpu
def test_first_steps_are_quick_and_a_device_that_fails_for_good_is_told() -> None:
    """Kernels are loaded when they are first called, cuBLAS makes a handle for each thread; an illegal access stays."""
    ended = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, timeout=120, check=False)
    assert "FIGURES" in ended.stdout, ended.stderr[-2000:]
    first, worst, median, broken = map(float, ended.stdout.split("FIGURES")[-1].split())
    print(f"first step {first:.3f} s, worst later {worst:.3f} s, median {median:.4f} s")
    assert first < 2.0
    assert worst < 0.5
    assert broken == 1
