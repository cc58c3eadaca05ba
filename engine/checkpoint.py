"""Reads a model directory for any engine: its configuration and the paths of its weights files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.base import CorruptModelError, UnsupportedModelError


def read_config(directory: Path, quantised: frozenset[str] = frozenset()) -> Any:
    """Returns a model's configuration as transformers reads it; `quantised` lists the allowed quantisation methods.

    Raises CorruptModelError if config.json is missing or unusable, UnsupportedModelError if the weights are quantised
    by another method or no engine here decodes the model correctly.
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
    """Returns the safetensors files of a model's weights. Raises CorruptModelError if one is missing."""
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
