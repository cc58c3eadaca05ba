"""The options of the ExLlamaV2 engine; importing them does not load torch or exllamav2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.exllama.config import CacheType, ExLlamaConfig
from engine.options import EngineOptions, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class ExLlamaOptions(EngineOptions):
    """Opens the ExLlamaV2 engine, on a CUDA GPU."""

    kind: ClassVar[str] = "exllama"

    cache_type: CacheType = CacheType.FP16  # number format of the KV cache

    def open(self, directory: Path) -> Opened:
        from engine.exllama.load import gpu_name, load_exllama

        config = ExLlamaConfig(cells=self.cells_taken, max_batch=self.max_batch, cache=self.cache_type)
        loaded = load_exllama(directory, config)
        from engine.exllama.engine import ExLlamaEngine  # only now, since it imports exllamav2 and its extension

        return Opened(
            kind=self.kind,
            engine=ExLlamaEngine(loaded, config),
            vocabulary=loaded.vocabulary,
            device=gpu_name(),
            arithmetic=f"float16, {self.cache_type} cache",
        )

    def check(self, directory: Path) -> None:
        from engine.exllama.load import check_machine, check_model

        check_machine()
        check_model(directory)
