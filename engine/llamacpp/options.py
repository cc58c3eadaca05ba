"""The options of the llama.cpp engine; importing them loads no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from engine.base import EngineUnavailableError, UnsupportedModelError
from engine.llamacpp.architectures import check_architecture
from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
from engine.llamacpp.engine import LlamaEngine
from engine.llamacpp.library import check_installed, llama
from engine.llamacpp.model import LlamaModel, LoadSettings
from engine.llamacpp.price import row_price
from engine.llamacpp.selftest import safe_loading, tried_apart
from engine.options import EngineOptions, Opened, spare_cores
from models.directory import gguf_of
from models.gguf.model import GGUFModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaOptions(EngineOptions):
    """Opens the llama.cpp engine, for GGUF files."""

    kind: ClassVar[str] = "llamacpp"

    kv_type: KVType = KVType.F16  # number format of the KV cache
    flash_attention: FlashAttention = FlashAttention.AUTO  # whether attention is computed in one pass over the cache
    # sequences share cells, and probes those of their thoughts; false: each sequence has 1/(2 · (max_batch + paused))
    # of them, a multiple of 256, and each probe, which copies its thought's: more tokens a second where many decode and
    # few are probed
    shared_cache: bool = True
    prefill_chunk: int = 256  # prompt tokens in one step
    # sequences that may be paused besides those of the batch, each as dear in memory for states and logits; 0: none
    paused: int = 0
    gpu_layers: int = -1  # layers that a GPU computes, if the library was built for one; -1: all
    mmap: bool = True  # weights stay in the file's pages; false: they are read into memory
    # weights are rearranged for this CPU, which makes long prompts faster; None: if a trial shows that it works here
    repack: bool | None = None
    # of a thought's time, the most that its probes may take, for a row is dear where a CPU computes it; 1: any
    probe_share: float = 0.08
    threads: int | None = (
        None  # of its arithmetic; None: the command's, else all cores but one, at most the container's
    )

    def __post_init__(self) -> None:
        EngineOptions.__post_init__(self)
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}, must be at least 1")
        if self.gpu_layers < -1:
            raise ValueError(f"gpu_layers is {self.gpu_layers}, must be at least -1")
        if not 0.0 < self.probe_share <= 1.0:
            raise ValueError(f"probe_share is {self.probe_share}, must lie in (0, 1]")
        if self.flash_attention is FlashAttention.OFF and self.kv_type in (KVType.Q8_0, KVType.Q4_0):
            raise ValueError(
                f"kv_type is {self.kv_type}, which needs flash attention, but flash_attention is {self.flash_attention}"
            )
        _ = self._config

    @property
    def _config(self) -> LlamaConfig:
        return LlamaConfig(
            cells=self.cells_taken,
            max_batch=self.max_batch,
            prefill_chunk=self.prefill_chunk,
            paused=self.paused,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            shared=self.shared_cache,
            threads=self.threads or spare_cores(),
            on_gpu=self.gpu_layers != 0,
        )

    def own_threads(self, model: Path | None) -> int:
        return self.threads or spare_cores()

    def gpu_memory(self) -> Sequence[int]:
        try:
            return llama().gpu_memory() if self.gpu_layers else ()
        except EngineUnavailableError:  # told once a model is opened
            return ()

    def open(self, directory: Path) -> Opened:
        found = self._found(directory)
        check_architecture(found)
        file = found.path
        wanted = LoadSettings(gpu_layers=self.gpu_layers, mmap=self.mmap, repack=self.repack is not False)
        trial = partial(tried_apart, file, self._config)
        loading, note = safe_loading(wanted, trial, may_change=self.repack is None)
        model = LlamaModel(file, loading)
        free = self.probe_share == 1.0
        probe_rows = None if free else row_price(model, self._config).probe_rows(self.probe_share)
        engine = LlamaEngine(model, self._config, probe_rows=probe_rows)
        gpus = model.library.gpus() if self.gpu_layers else []
        return Opened(
            kind=self.kind,
            engine=engine,
            vocabulary=model.vocabulary,
            device=", ".join(gpus) or "cpu",
            arithmetic=f"the type of the weights, {self.kv_type} cache",
            runner=f"llama.cpp {model.library.version} ({model.library.package})",
            note=note,
        )

    def check(self, directory: Path) -> None:
        found = self._found(directory)
        check_installed()
        check_architecture(found)

    def _found(self, directory: Path) -> GGUFModel:
        """Raises GGUFError, too, if the file is damaged or no language model."""
        found = gguf_of(directory)
        if found is None:
            raise UnsupportedModelError(
                f"{directory}: the llamacpp engine decodes GGUF files, and this is none: `laser convert` writes one"
            )
        return found
