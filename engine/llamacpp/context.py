"""One of llama.cpp's contexts: a KV cache shared by many sequences, and the call that decodes rows of them.

A sequence here is an id by which llama.cpp marks the cells it sees. Copying a sequence marks its cells twice and copies
nothing. Every result is checked: a cell that stays where it should go would be seen as the past of another text.
"""

from __future__ import annotations

import ctypes
import weakref
from bisect import insort
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.base import CapacityError, EngineError
from engine.llamacpp.config import MOST_SEQUENCES, FlashAttention, KVType, LlamaConfig
from engine.llamacpp.model import LlamaModel
from engine.llamacpp.structs import Batch

GGML_TYPES = {KVType.F32: 0, KVType.F16: 1, KVType.Q4_0: 2, KVType.Q8_0: 8}
FLASH = {FlashAttention.AUTO: -1, FlashAttention.OFF: 0, FlashAttention.ON: 1}
NO_CELLS, ABORTED = 1, 2  # what llama_decode returns
END = -1  # a position: to the last there is


class DecodeError(EngineError):
    """llama.cpp failed to decode, or to drop what it held."""


class TokenRow(NamedTuple):
    """One token to decode, which one or two sequences see at the same position."""

    token: int
    position: int
    sequences: tuple[int, ...]
    wanted: bool  # whether its logits are


def _free(handle: int, model: LlamaModel) -> None:
    """Frees a context; its model, which it looks into, lives until then, even if both are garbage at once."""
    model.library.llama_free(handle)


def _too_many(config: LlamaConfig, most: int) -> str:
    """Returns which setting must be smaller, where no more than `most` sequences can be held."""
    batch, paused, model = config.max_batch, config.paused, "with llama.cpp and this model"
    if paused < most:
        beside = f" with paused at {paused}" if paused else ""
        return f"max_batch is {batch}, must be at most {most - paused} {model}{beside}"
    if batch <= most:
        return f"paused is {paused}, must be at most {most - batch} {model} with max_batch at {batch}"
    return f"max_batch is {batch} and paused is {paused}, must be at most {most} together {model}"


class LlamaContext:
    """A context of `config`'s sizes; it is freed with its last reference."""

    def __init__(self, model: LlamaModel, config: LlamaConfig, *, ids: int) -> None:
        """`ids`: how many sequences there can be at once. Raises CapacityError if there is no memory for the cache."""
        self._model, self._library = model, model.library
        if ids > MOST_SEQUENCES:
            raise CapacityError(_too_many(config, MOST_SEQUENCES * config.held // ids))
        self._handle = self._created(config, ids)
        self._finalizer = weakref.finalize(self, _free, self._handle, model)
        self._finalizer.atexit = False  # the process's end frees all
        self._memory = self._library.llama_get_memory(self._handle)
        self._ids, self._shared = ids, config.shared
        self._free = list(range(ids))  # in order
        self.set_threads(config.threads)
        self._rows = int(self._library.llama_n_batch(self._handle))
        self._arrays(self._rows)

    def _created(self, config: LlamaConfig, ids: int) -> int:
        library = self._library
        params: Any = library.llama_context_default_params()
        params.n_ctx = max(config.cells, 256)
        params.n_batch = params.n_ubatch = max(config.rows, ids)
        params.n_seq_max = params.n_outputs_max = ids
        params.type_k = params.type_v = GGML_TYPES[config.kv_type]
        params.flash_attn_type = FLASH[config.flash_attention]
        params.offload_kqv = config.on_gpu
        params.swa_full = True  # a window's cells stay, so that a probe can fork a few tokens back
        params.kv_unified = config.shared  # if so, sequences share cells, and a row can be of two of them
        library.log.forget()
        handle: int | None = library.llama_init_from_model(self._model.handle, params)
        if not handle:
            said = library.log.errors or "no reason is given"
            raise CapacityError(
                f"{self._model.file}: llama.cpp cannot make a cache of {config.cells} cells of {config.kv_type}: "
                f"{said}; fewer `--cells` may fit"
            )
        return handle

    def _arrays(self, rows: int) -> None:
        """Makes the arrays of a batch, which every call fills anew."""
        self._tokens = np.zeros(rows, np.int32)
        self._positions = np.zeros(rows, np.int32)
        self._counts = np.zeros(rows, np.int32)
        self._sequences = np.zeros((rows, 2), np.int32)
        self._wanted = np.zeros(rows, np.int8)
        width = self._sequences.strides[0]
        self._pointers = np.arange(rows, dtype=np.uint64) * width + self._sequences.ctypes.data

        def pointer(array: npt.NDArray[Any], kind: Any) -> Any:
            return array.ctypes.data_as(ctypes.POINTER(kind))

        self._batch = Batch(
            0,
            pointer(self._tokens, ctypes.c_int32),
            None,
            pointer(self._positions, ctypes.c_int32),
            pointer(self._counts, ctypes.c_int32),
            pointer(self._pointers, ctypes.c_void_p),
            pointer(self._wanted, ctypes.c_int8),
        )

    @property
    def cells(self) -> int:
        """The cells that llama.cpp has allocated, those of all sequences."""
        return int(self._library.llama_n_ctx(self._handle))

    def set_threads(self, threads: int) -> None:
        """Computes with so many threads from now on."""
        self._library.llama_set_n_threads(self._handle, threads, threads)

    def decode(self, rows: Sequence[TokenRow]) -> npt.NDArray[np.float32]:
        """Decodes rows and returns the logits of those that are wanted, (wanted, vocabulary).

        The array is llama.cpp's own if one call is enough: the next call overwrites it. Raises DecodeError; the cache
        must be cleared then.
        """
        if len(rows) <= self._rows:
            return self._decode(rows)
        starts = range(0, len(rows), self._rows)
        return np.concatenate([self._decode(rows[start : start + self._rows]).copy() for start in starts])

    def _decode(self, rows: Sequence[TokenRow]) -> npt.NDArray[np.float32]:
        count = len(rows)
        tokens, positions, sequences, wanted = zip(*rows, strict=True)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._counts[:count] = [len(seen_by) for seen_by in sequences]
        self._sequences[:count] = [(seen_by[0], seen_by[-1]) for seen_by in sequences]
        self._wanted[:count] = wanted
        self._batch.n_tokens = count
        self._library.log.forget()
        failed = self._library.llama_decode(self._handle, self._batch)
        if failed:
            why = {NO_CELLS: "no cells are free", ABORTED: "it was aborted"}.get(failed, self._library.log.errors)
            raise DecodeError(f"llama.cpp could not decode {count} rows (code {failed}): {why or 'no reason is given'}")
        return self._logits(sum(wanted))

    def _logits(self, wanted: int) -> npt.NDArray[np.float32]:
        """Returns the logits of the last call's `wanted` rows, where llama.cpp has put them."""
        if not wanted:
            return np.zeros((0, self._model.vocabulary), np.float32)
        lent: Any = (ctypes.c_float * (wanted * self._model.vocabulary)).from_address(
            self._library.llama_get_logits(self._handle)
        )
        return np.frombuffer(memoryview(lent), np.float32).reshape(wanted, -1)

    def new(self) -> int:
        """Returns the id of an empty sequence, the lowest: llama.cpp decodes those that follow each other together."""
        return self._free.pop(0)

    def copy(self, source: int, *, end: int = END, target: int | None = None, start: int = 0) -> int:
        """Returns a sequence that sees the cells of `source` from `start` up to `end` too; `target` None: a new one.

        Where sequences share no cells, it gets copies of all, and is cut to the first `end`.
        """
        target = self._free.pop() if target is None else target
        if self._shared:
            self._library.llama_memory_seq_cp(self._memory, source, target, start, end)
            return target
        self._library.llama_memory_seq_cp(self._memory, source, target, END, END)
        if end != END:
            self.cut(target, end)
        return target

    def cut(self, sequence: int, length: int) -> None:
        """Takes away all but the first `length` tokens of a sequence. Raises DecodeError if llama.cpp cannot."""
        if not self._library.llama_memory_seq_rm(self._memory, sequence, length, END):
            raise DecodeError(f"llama.cpp could not cut sequence {sequence} to {length} tokens")

    def drop(self, sequence: int) -> None:
        """Frees a sequence, and the cells that no other one sees. Raises DecodeError if llama.cpp cannot."""
        if not self._library.llama_memory_seq_rm(self._memory, sequence, END, END):
            raise DecodeError(f"llama.cpp could not drop sequence {sequence}")
        insort(self._free, sequence)

    def first(self, sequence: int) -> int:
        """Returns the first position that a sequence has in every layer; -1: it has none."""
        return int(self._library.llama_memory_seq_pos_min(self._memory, sequence))

    @property
    def occupied(self) -> int:
        """The number of sequences that see any cell."""
        return sum(self.first(sequence) >= 0 for sequence in range(self._ids))

    def clear(self) -> None:
        """Empties the cache and forgets all sequences."""
        self._library.llama_memory_clear(self._memory, False)
        self._free = list(range(self._ids))

    def try_out(self) -> None:
        """Decodes a token of a new sequence and drops it. Raises DecodeError if that fails.

        Metal refuses every call after a command buffer that failed (ggml issue 1545): clearing the cache does not help.
        """
        sequence = self.new()
        self.decode([TokenRow(0, 0, (sequence,), True)])
        self.drop(sequence)
