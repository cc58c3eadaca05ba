"""Loads a model directory for the torch engine, or raises an error that says why it cannot be served."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.base import CorruptModelError, UnsupportedModelError
from engine.checkpoint import read_config, weights_files
from engine.torch.bare_model import ARCHITECTURES, BareModel
from engine.torch.config import Runner
from engine.torch.packed import PackedModel
from engine.torch.transformers_model import TransformersModel


def load_model(directory: Path, runner: Runner = Runner.AUTO) -> PackedModel:
    """Loads the model in `directory` in float32.

    Raises CorruptModelError if its files are missing or damaged, UnsupportedModelError if the engine or `runner`
    cannot decode it correctly.
    """
    config = read_config(directory)
    architecture = (config.architectures or ["unknown"])[0]
    bare = architecture in ARCHITECTURES and getattr(config, "hidden_act", "silu") == "silu"
    if runner is Runner.BARE and not bare:
        raise UnsupportedModelError(
            f"{directory}: architecture {architecture} has no bare runner, it knows {', '.join(sorted(ARCHITECTURES))}"
        )
    files = weights_files(directory)
    if bare and runner is not Runner.TRANSFORMERS:
        try:
            return BareModel(config, {name: tensor for file in files for name, tensor in _read(file).items()})
        except CorruptModelError as error:
            raise CorruptModelError(f"{directory}: {error}") from error
    for file in files:
        _read(file)  # only to check it
    return TransformersModel(directory, config)


def _read(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CorruptModelError(f"{file} is damaged: {error}") from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CorruptModelError(f"{file} is damaged: {name} holds values that are not finite")
    return weights
