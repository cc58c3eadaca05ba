"""The options of the torch engine; importing them does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.base import CapacityError
from engine.options import EngineOptions, Opened
from engine.torch.config import Dtype, Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchOptions(EngineOptions):
    """Opens the torch engine, on any CPU."""

    kind: ClassVar[str] = "torch"

    runner: Runner = Runner.AUTO  # the code of the forward pass
    # number format of the matrices: bfloat16 halves their memory, and is refused where its logits are not float32's;
    # auto takes it where the CPU has instructions for it, too
    dtype: Dtype = Dtype.FLOAT32

    def open(self, directory: Path) -> Opened:
        from engine.torch.bare_model import BareModel
        from engine.torch.engine import TorchEngine, TorchEngineConfig
        from engine.torch.precision import computes_bfloat16, load

        model, dtype, note = load(directory, self.runner, self.dtype, capable=computes_bfloat16())
        try:
            engine = TorchEngine(
                model,
                TorchEngineConfig(cells=self.cells_taken, max_batch=self.max_batch),
                batch_invariant=dtype is Dtype.FLOAT32,
            )
        except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when it cannot allocate
            raise CapacityError(f"cells is {self.cells}, for which there is no memory: {error}") from error
        return Opened(
            kind=self.kind,
            engine=engine,
            vocabulary=model.shape.vocabulary,
            device="cpu",
            arithmetic=dtype.value if dtype is Dtype.FLOAT32 else f"{dtype}, float32 beside the layers' matrices",
            runner=(Runner.BARE if isinstance(model, BareModel) else Runner.TRANSFORMERS).value,
            note=note,
        )

    def check(self, directory: Path) -> None:
        from engine.torch.load import check_model

        check_model(directory, self.runner)
