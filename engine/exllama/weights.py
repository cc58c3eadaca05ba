"""Checks that ExLlamaV2 has a use for every tensor of a model's weights, plain or quantised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base import CorruptModelError, UnsupportedModelError
from engine.checkpoint import architecture_of
from engine.weights import (
    HEAD,
    StoredTensor,
    check_names,
    check_parameters,
    check_plain,
    check_tied,
    is_buffer,
    listed,
    parameters,
    stored_tensors,
)
from models.foreign import told

PARTS = {
    "exl2": ("q_weight", "q_scale", "q_scale_max", "q_groups", "q_invperm", "q_perm", "q_group_map"),
    "gptq": ("qweight", "qzeros", "scales", "g_idx"),
}
"""The tensors that stand for a quantised matrix `X.weight`, as X.part, by method."""
NEEDED = {"exl2": ("q_weight", "q_scale", "q_scale_max", "q_groups"), "gptq": ("qweight", "qzeros", "scales")}
"""Those of the tensors without which a quantised matrix cannot be read."""


def check_weights(directory: Path, config: Any) -> None:
    """Raises an error unless the weights are the tensors of the model, of which matrices may be quantised.

    CorruptModelError: a tensor is missing. UnsupportedModelError: there are others; a tensor that is no quantised part
    is of a type that holds codes; the bias of a quantised matrix is not of half precision, which ExLlamaV2 needs there.
    """
    stored = stored_tensors(directory)
    quantisation = getattr(config, "quantization_config", None)
    if quantisation is None:
        check_plain(directory, stored)
        check_parameters(directory, config, stored)
        check_tied(directory, config, stored)
        return
    wanted = set(parameters(config))
    parts = PARTS[quantisation["quant_method"]]
    stands_for = {name: _parameter(name, parts) for name in stored}
    check_plain(directory, {name: tensor for name, tensor in stored.items() if stands_for[name] == name})
    others = [
        name
        for name, parameter in stands_for.items()
        if not (parameter in wanted or parameter == HEAD or is_buffer(name) or _is_nothing(name, stored, parts))
    ]  # the head of a tied model is quantised by itself
    missing = wanted - set(stands_for.values())
    quantised = {name.rpartition(".")[0] for name, parameter in stands_for.items() if parameter != name}
    biases = {f"{matrix}.bias" for matrix in quantised} & wanted & set(stored)
    if other := {name: stored[name].dtype for name in biases if stored[name].dtype != "F16"}:
        raise UnsupportedModelError(
            f"{directory}: beside quantised matrices ExLlamaV2 takes biases of type F16 only, of type "
            f"{', '.join(sorted(set(other.values())))} {'is' if len(other) == 1 else 'are'} {listed(other)}"
        )
    needed = NEEDED[quantisation["quant_method"]]
    missing |= {f"{matrix}.{part}" for matrix in quantised for part in needed} - set(stored)
    check_names(directory, architecture_of(config), missing=missing, others=others)


def _parameter(name: str, parts: tuple[str, ...]) -> str:
    """Returns the parameter that a stored tensor is, or is a part of."""
    matrix, _, part = name.rpartition(".")
    return f"{matrix}.weight" if part in parts else name


def _is_nothing(name: str, stored: Mapping[str, StoredTensor], parts: tuple[str, ...]) -> bool:
    """Returns whether a tensor is the bias of zeros that GPTQ's tools write beside every matrix."""
    matrix, _, part = name.rpartition(".")
    if part != "bias" or f"{matrix}.{parts[0]}" not in stored:
        return False
    from safetensors import safe_open

    file = stored[name].file
    with told(f"{file} is damaged", CorruptModelError), safe_open(file, "pt") as tensors:
        return not bool(tensors.get_tensor(name).any())
