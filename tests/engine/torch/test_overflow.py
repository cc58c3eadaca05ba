"""Numbers that overflow end their sequence, as with every other engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from engine.base import EngineLoad, Finished, FinishReason
from engine.torch.config import Runner
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from engine.torch.packed import PackedBatch, PackedModel
from tests.support.engine_requests import request


def test_numbers_that_overflow_end_their_sequence_with_an_error(model_directory: Callable[[str], Path]) -> None:
    model: PackedModel = load_model(model_directory("qwen2"), Runner.BARE)

    class Overflowing:
        """The model, whose logits of the last row are no numbers."""

        shape = model.shape

        def forward(self, batch: PackedBatch, arena: object) -> torch.Tensor:
            logits = model.forward(batch, arena)  # type: ignore[arg-type]
            logits[-1] = torch.nan
            return logits

    engine = TorchEngine(Overflowing(), TorchEngineConfig(cells=256, max_batch=2))
    well, ill = engine.submit(request(new=3)), engine.submit(request(new=9))
    ended = [event for event in engine.step() if isinstance(event, Finished)]
    assert ended == [Finished(sequence=ill, reason=FinishReason.ERROR, error="the model's numbers overflowed")]
    assert engine.load() == EngineLoad(running=1, waiting=0, probing=0, cells_reserved=20, cells_total=256)
    assert [event.sequence for event in engine.step() if isinstance(event, Finished)] == [well]
