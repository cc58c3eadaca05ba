"""A bare loop over llama.cpp: what decoding costs with nothing around it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.llamacpp.library import Library
from engine.llamacpp.model import LlamaModel
from engine.llamacpp.structs import Batch


class BareLlamaLoop:
    """Greedy decoding of `batch` sequences with random prompts: one llama_decode a step, and an argmax."""

    def __init__(self, model: LlamaModel, batch: int, prompt: int, new_tokens: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._library, self._vocabulary = model.library, model.vocabulary
        params: Any = self._library.llama_context_default_params()
        params.n_ctx = batch * (prompt + new_tokens)
        params.n_batch = params.n_ubatch = max(prompt, batch)
        params.n_seq_max, params.kv_unified = batch, True
        self._context = self._library.llama_init_from_model(model.handle, params)
        self._library.llama_set_n_threads(self._context, 1, 1)
        self._tokens = np.zeros(max(prompt, batch), np.int32)
        self._positions = np.arange(max(prompt, batch), dtype=np.int32)
        self._ones = np.ones(max(prompt, batch), np.int32)
        self._wanted = np.ones(max(prompt, batch), np.int8)
        newest = []
        for sequence in range(batch):
            self._tokens[:prompt] = rng.integers(0, model.vocabulary, prompt)
            self._wanted[:prompt] = np.arange(prompt) == prompt - 1
            newest.append(int(self._decode(prompt, np.full(prompt, sequence, np.int32), 1)[0]))
        self._tokens[:batch], self._positions[:batch], self._wanted[:batch] = newest, prompt, 1
        self._sequences = np.arange(batch, dtype=np.int32)

    def __del__(self) -> None:
        self._library.llama_free(self._context)

    def step(self) -> None:
        """Decodes one more token of every sequence."""
        batch = len(self._sequences)
        self._tokens[:batch] = self._decode(batch, self._sequences, batch)
        self._positions[:batch] += 1

    def _decode(self, rows: int, sequences: npt.NDArray[np.int32], wanted: int) -> npt.NDArray[np.intp]:
        pointers = sequences.ctypes.data + sequences.strides[0] * np.arange(rows, dtype=np.uint64)
        batch = Batch(
            rows,
            self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            None,
            self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            self._ones.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            pointers.ctypes.data_as(ctypes.POINTER(ctypes.c_void_p)),
            self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        failed = self._library.llama_decode(self._context, batch)
        if failed:
            raise RuntimeError(f"llama_decode returned {failed}")
        address = self._library.llama_get_logits(self._context)
        logits = (ctypes.c_float * (wanted * self._vocabulary)).from_address(address)
        found: npt.NDArray[np.float32] = np.ctypeslib.as_array(logits).reshape(wanted, -1)
        likeliest: npt.NDArray[np.intp] = found.argmax(axis=1)
        return likeliest


class Timed:
    """A contestant whose steps are told apart from the time that llama_decode takes of them."""

    def __init__(self, step: Callable[[], None], clock: TimedDecode) -> None:
        self._step, self._clock = step, clock
        self.decoding_s = 0.0  # CPU seconds of llama_decode in all steps

    def step(self) -> None:
        """Runs one step."""
        before = self._clock.spent_s
        self._step()
        self.decoding_s += self._clock.spent_s - before


class TimedDecode:
    """Within the block, adds up the CPU time that llama_decode takes."""

    def __init__(self, library: Library) -> None:
        self.spent_s = 0.0
        self._library = library

    def of(self, step: Callable[[], None]) -> Timed:
        """Returns a contestant that runs `step`."""
        return Timed(step, self)

    def __enter__(self) -> TimedDecode:
        self._plain = plain = self._library.llama_decode

        def timed(context: int, batch: Batch) -> int:
            began = time.process_time()
            failed: int = plain(context, batch)
            self.spent_s += time.process_time() - began
            return failed

        setattr(self._library, "llama_decode", timed)  # noqa: B010 (its attributes are found by name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        setattr(self._library, "llama_decode", self._plain)  # noqa: B010
