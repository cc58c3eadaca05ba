"""What a model's weights files hold: how many parameters, of which type, in how many bits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoint import read_config
from engine.weights import PLAIN, StoredTensor, is_buffer, parameters, stored_tensors
from models.directory import gguf_of

BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16}  # by safetensors' names; else 8
METHODS = frozenset({"exl2", "gptq"})  # of quantising, whose models some engine here decodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The size of a model, and how its files store it."""

    parameters: int | None  # None: quantised, and not of an architecture whose parameters are known
    stored: str  # BF16 and the like; of quantised weights the method
    bits: float | None  # of a parameter, the mean; None: the number of parameters is not known


def check_weights(model: Path) -> None:
    """Raises EngineError or GGUFError if a file of a model's weights is missing or damaged; reads their heads only."""
    if gguf_of(model) is None:
        stored_tensors(model)


def inventory(directory: Path) -> Inventory:
    """Returns what a model's weights files hold; reads their heads and config.json only.

    Raises EngineError or GGUFError if a file is missing or damaged, or no engine here decodes the model.
    """
    gguf = gguf_of(directory)
    if gguf is not None:
        held = Counter[str]()
        for each in gguf.tensors:
            held[each.type] += each.values
        count = held.total()
        return Inventory(parameters=count, stored=held.most_common(1)[0][0], bits=8 * gguf.bytes / count)
    stored = [tensor for name, tensor in stored_tensors(directory).items() if not is_buffer(name)]
    bits = sum(BITS.get(tensor.dtype, 8) * tensor.values for tensor in stored)
    if all(tensor.dtype in PLAIN for tensor in stored):
        count = sum(tensor.values for tensor in stored)
        return Inventory(parameters=count, stored=_type(stored), bits=bits / count)
    config = read_config(directory, METHODS)
    quantised = getattr(config, "quantization_config", None)
    method = str(quantised.get("quant_method", "quantised")) if isinstance(quantised, dict) else _type(stored)
    if not hasattr(config, "intermediate_size"):
        return Inventory(parameters=None, stored=method, bits=None)
    count = sum(math.prod(shape) for shape in parameters(config).values())
    return Inventory(parameters=count, stored=method, bits=bits / count)


def _type(stored: list[StoredTensor]) -> str:
    """Returns the type of most values."""
    values = Counter[str]()
    for tensor in stored:
        values[tensor.dtype] += tensor.values
    return values.most_common(1)[0][0]
