"""Loads a model directory for the torch engine, or raises an error that says why it cannot be served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.base import CorruptModelError, UnsupportedModelError
from engine.checkpoint import architecture_of, read_config
from engine.loading import in_turn
from engine.torch.bare_model import ARCHITECTURES, BareModel
from engine.torch.config import Runner
from engine.torch.packed import PackedModel
from engine.torch.transformers_model import TransformersModel
from engine.weights import StoredTensor, check_parameters, check_plain, check_tied, stored_tensors, weights_files
from models.foreign import told


def load_model(directory: Path, runner: Runner = Runner.AUTO) -> PackedModel:
    """Loads the model in `directory` in float32.

    Raises CorruptModelError if its files are missing or damaged, UnsupportedModelError if the engine or `runner`
    cannot decode it correctly.
    """
    config, stored, bare = check_model(directory, runner)
    if bare:
        return _bare(directory, config, stored)
    for file in in_turn(weights_files(directory)):
        _read(file)  # only to check it
    return TransformersModel(directory, config, stored)


def check_model(directory: Path, runner: Runner) -> tuple[Any, dict[str, StoredTensor], bool]:
    """Returns a model's configuration, its tensors, and whether the bare runner runs it; reads no weights.

    Raises the errors of `load_model` that can be told so.
    """
    config = read_config(directory, bare=runner is not Runner.TRANSFORMERS)
    architecture = architecture_of(config)
    bare = architecture in ARCHITECTURES and getattr(config, "hidden_act", "silu") == "silu"
    if runner is Runner.BARE and not bare:
        raise UnsupportedModelError(
            f"{directory}: architecture {architecture} has no bare runner, it knows {', '.join(sorted(ARCHITECTURES))}"
        )
    stored = stored_tensors(directory)
    bare = bare and runner is not Runner.TRANSFORMERS
    if bare:
        check_plain(directory, stored)
        check_parameters(directory, config, stored)
    return config, stored, bare


def _bare(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> BareModel:
    """Returns the bare model, if it has a use for every tensor that is stored."""
    weights = bare_weights(directory, config, stored)
    try:
        with told(f"{directory}: the model cannot be loaded", CorruptModelError):
            return BareModel(config, weights)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{directory}: {error}") from error


def bare_weights(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> dict[str, torch.Tensor]:
    """Returns the tensors of a model that `check_model` has passed for the bare runner. Raises CorruptModelError."""
    check_tied(directory, config, stored)
    return {name: tensor for file in in_turn(weights_files(directory)) for name, tensor in _read(file).items()}


def _read(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    with told(f"{file} is damaged", CorruptModelError):
        weights = load_file(file)
    for name, tensor in weights.items():
        plain = tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        if plain and not tensor.isfinite().all():
            raise CorruptModelError(f"{file} is damaged: {name} holds values that are not finite")
    return weights
