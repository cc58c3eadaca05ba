"""The model, the prompts and the clocks with which all engines are measured."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

CONTEXT = (300, 1000)  # tokens; the range of a prompt's length with its new tokens
VOCABULARY = 1024


def save_model(directory: Path, seed: int) -> Path:
    """Writes a random Qwen2 of hidden size 256, 6 layers, 4 heads over 2 KV heads of 64, to `directory`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(directory)
    return directory


def prompts(rng: np.random.Generator, count: int, new_tokens: int) -> list[list[int]]:
    """Draws random prompts whose contexts stay within CONTEXT while they grow."""
    lengths = rng.integers(CONTEXT[0], CONTEXT[1] - new_tokens, count)
    return [rng.integers(0, VOCABULARY, int(length)).tolist() for length in lengths]


@dataclass(slots=True)
class Spent:
    """Time on two clocks. With one computing thread both agree, unless other processes take the cores meanwhile."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


class Stopwatch:
    """Adds the time spent inside its `with` blocks to `spent`."""

    def __init__(self) -> None:
        self.spent = Spent()

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spent.cpu_s += time.process_time() - self._cpu
        self.spent.wall_s += time.perf_counter() - self._wall


class ClockMap:
    """Samples both clocks on its own thread, to convert moments on the wall clock into CPU time."""

    def __init__(self, every_s: float = 0.01) -> None:
        self._every = every_s
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ClockMap:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def cpu_s(self, start: float, end: float) -> float:
        """Returns the CPU time between two moments of time.perf_counter()."""
        cpu: npt.NDArray[np.float64] = np.interp([start, end], self._wall, self._cpu)
        return float(cpu[1] - cpu[0])

    def _watch(self) -> None:
        while True:
            self._wall.append(time.perf_counter())
            self._cpu.append(time.process_time())
            if self._done.wait(self._every):
                return
