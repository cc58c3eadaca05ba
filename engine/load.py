"""Loading a model directory for the torch engine, or saying clearly why it cannot be served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from engine.bare_model import ARCHITECTURES, BareModel
from engine.base import CorruptModelError, UnsupportedModelError
from engine.packed import PackedModel
from engine.runner import Runner
from engine.transformers_model import TransformersModel


def load_model(directory: Path, runner: Runner = Runner.AUTO) -> PackedModel:
    """The model in `directory`, in float32. Raises CorruptModelError or UnsupportedModelError."""
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


def read_config(directory: Path, quantised: frozenset[str] = frozenset()) -> Any:
    """A model's configuration as transformers reads it; its weights may be quantised by one of these methods.

    Raises CorruptModelError, or UnsupportedModelError for what no engine here decodes correctly.
    """
    from transformers import AutoConfig

    if not (directory / "config.json").is_file():
        raise CorruptModelError(f"{directory}: config.json is missing; a model directory is needed")
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptModelError(f"{directory}/config.json cannot be used: {error}") from error
    if getattr(config, "quantization_config", None) is not None:
        method = config.quantization_config.get("quant_method", "unknown")
        if method not in quantised:
            known = f"only plain weights{''.join(f' and {name}' for name in sorted(quantised))} are supported"
            raise UnsupportedModelError(f"{directory}: the weights are quantised ({method}), {known}")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        raise UnsupportedModelError(
            f"{directory}: the model's rotary embedding is longrope, which changes with a sequence's length; "
            "sequences of many lengths share a batch here"
        )
    windowed = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if windowed or getattr(config, "sliding_window", None):  # None and 0: no window
        raise UnsupportedModelError(
            f"{directory}: the model uses sliding-window attention (window {config.sliding_window}), "
            "only full attention is supported"
        )
    return config


def weights_files(directory: Path) -> list[Path]:
    """The safetensors files that hold a model's weights. Raises CorruptModelError where one is missing."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise CorruptModelError(f"{index} cannot be read: {error}") from error
    else:
        names = ["model.safetensors"]
    files = [directory / name for name in names]
    for file in files:
        if not file.is_file():
            raise CorruptModelError(f"{file} is missing")
    return files


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
