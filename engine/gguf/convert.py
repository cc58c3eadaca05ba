"""Writes a model directory's weights, tokenizer and formats into one GGUF file, which llama.cpp runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.base import EngineUnavailableError, UnsupportedModelError
from engine.checkpoint import architecture_of, read_config
from engine.gguf.described import LLAMA, describe, rope_frequencies
from engine.gguf.vocabulary import describe_no_vocabulary, describe_vocabulary
from engine.weights import HEAD, StoredTensor, check_parameters, check_plain, check_tied, is_buffer, stored_tensors
from models.directory import check_directory
from models.errors import LaserError
from models.files.replacement import replacing
from models.foreign import told

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

ARCHITECTURES = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""The architectures that are converted, and what GGUF calls them."""
SUFFIX = ".gguf"


class ConversionError(LaserError):
    """A model directory cannot be written as a GGUF file; the message says why."""


class StoredType(StrEnum):
    """How the matrices of a GGUF file store their weights; its vectors are always F32."""

    F32 = "f32"
    F16 = "f16"
    Q8_0 = "q8_0"  # 8 bits a weight and one scale for 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A tensor of the GGUF file."""

    name: str  # as GGUF calls it
    stored: StoredTensor
    source: str  # its name in the safetensors files
    type: GGMLQuantizationType
    heads: int | None  # of queries or keys, whose rows are put in llama.cpp's order; None: the rows stay as they are


def convert(
    source: Path, target: Path, stored: StoredType = StoredType.F16, *, tokenizer: bool = True
) -> Iterator[float]:
    """Writes the model in the directory `source` to the GGUF file `target`, whole or not at all.

    Yields the share of the tensors that are written. Without `tokenizer` the file's model decodes token ids alone, and
    the directory needs no tokenizer. Raises EngineError, TokenizerError or ConversionError if the directory is damaged
    or of an architecture that is not converted, WriteError if the file cannot be written.
    """
    try:
        import gguf
    except ImportError as error:
        raise EngineUnavailableError(
            "gguf is not installed, writing GGUF files needs it: pip install 'gguf>=0.19', in a checkout "
            "pip install -c constraints.txt -e '.[llamacpp]'"
        ) from error

    logging.getLogger("gguf").setLevel(logging.WARNING)
    check_directory(source, ConversionError)
    config = read_config(source)
    architecture = ARCHITECTURES.get(architecture_of(config))
    if architecture is None:
        raise UnsupportedModelError(
            f"{source}: {architecture_of(config)} is not converted, only {', '.join(ARCHITECTURES)} are"
        )
    tensors = stored_tensors(source)
    check_plain(source, tensors)
    check_parameters(source, config, tensors)
    check_tied(source, config, tensors)
    plan = _plan(config, architecture, tensors, stored)
    with replacing(target) as draft:
        writer = gguf.GGUFWriter(draft, architecture)
        try:
            describe(writer, source, config, stored.name)
            if tokenizer:
                describe_vocabulary(writer, source, config.vocab_size)
            else:
                describe_no_vocabulary(writer)
            yield from _write(writer, plan, rope_frequencies(config))
        finally:
            writer.close()


def _plan(config: Any, architecture: str, tensors: dict[str, StoredTensor], stored: StoredType) -> list[_Written]:
    """Returns the tensors of the file. Raises UnsupportedModelError for one that GGUF has no name for."""
    import gguf

    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), config.num_hidden_layers
    )
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    found = []
    for source, tensor in tensors.items():
        if is_buffer(source) or (source == HEAD and config.tie_word_embeddings and len(tensors) > 1):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UnsupportedModelError(f"{tensor.file}: GGUF has no name for the tensor {source}")
        turned = next((count for part, count in heads.items() if part in source), None)
        found.append(
            _Written(
                name=name,
                stored=tensor,
                source=source,
                type=_type(tensor, stored),
                heads=turned if architecture == LLAMA else None,
            )
        )
    return found


def _type(tensor: StoredTensor, wanted: StoredType) -> GGMLQuantizationType:
    """Returns how a tensor is stored: vectors as F32, rows that do not divide into blocks as F16."""
    import gguf

    types = gguf.GGMLQuantizationType
    if len(tensor.shape) == 1:
        return types.F32
    block, _ = gguf.GGML_QUANT_SIZES[types[wanted.name]]
    return types[wanted.name] if tensor.shape[-1] % block == 0 else types.F16


def _write(writer: GGUFWriter, plan: list[_Written], frequencies: npt.NDArray[np.float32] | None) -> Iterator[float]:
    """Writes all tensors, one at a time in memory; yields the share that is written."""
    import gguf

    if frequencies is not None:
        writer.add_tensor_info("rope_freqs.weight", frequencies.shape, frequencies.dtype, frequencies.nbytes)
    for one in plan:
        block, size = gguf.GGML_QUANT_SIZES[one.type]
        shape = gguf.quant_shape_to_byte_shape(one.stored.shape, one.type) if block > 1 else one.stored.shape
        writer.add_tensor_info(
            one.name,
            shape,
            np.dtype(np.uint8 if block > 1 else np.float32),
            one.stored.values // block * size,
            one.type,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if frequencies is not None:
        writer.write_tensor_data(frequencies)
    for i, one in enumerate(plan):
        writer.write_tensor_data(_values(one))
        yield (i + 1) / len(plan)


def _values(one: _Written) -> npt.NDArray[Any]:
    """Returns a tensor as the file stores it."""
    import gguf
    import torch
    from safetensors import safe_open

    with told(f"{one.stored.file} is damaged", ConversionError), safe_open(one.stored.file, "pt") as tensors:
        values = tensors.get_tensor(one.source).to(torch.float32).numpy()
    if one.heads is not None:  # the halves of a head, which safetensors has one behind the other, alternate
        halves = values.reshape(one.heads, 2, -1, *values.shape[1:])
        values = halves.swapaxes(1, 2).reshape(values.shape)
    return gguf.quantize(values, one.type)
