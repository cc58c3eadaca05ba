"""The options of the torch engine; importing them does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.base import CapacityError
from engine.options import EngineOptions, Opened
from engine.torch.config import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchOptions(EngineOptions):
    """Opens the torch engine, on any CPU."""

    kind: ClassVar[str] = "torch"

    runner: Runner = Runner.AUTO  # the code of the forward pass

    def open(self, directory: Path) -> Opened:
        from engine.torch.bare_model import BareModel
        from engine.torch.engine import TorchEngine, TorchEngineConfig
        from engine.torch.load import load_model

        model = load_model(directory, self.runner)
        try:
            engine = TorchEngine(model, TorchEngineConfig(cells=self.cells, max_batch=self.max_batch))
        except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when it cannot allocate
            raise CapacityError(f"cells is {self.cells}, for which there is no memory: {error}") from error
        return Opened(
            kind=self.kind,
            engine=engine,
            vocabulary=model.shape.vocabulary,
            device="cpu",
            arithmetic="float32",
            runner=(Runner.BARE if isinstance(model, BareModel) else Runner.TRANSFORMERS).value,
        )
