"""A model's configuration as the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.base import UnsupportedModelError
from engine.weights import head_width

if TYPE_CHECKING:
    from gguf import GGUFWriter

LLAMA = "llama"  # the architecture whose queries and keys llama.cpp turns in pairs of neighbours, not of halves
SCALED = ("default", "linear", "yarn", "llama3")
YARN = frozenset({"rope_type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow"})


def describe(writer: GGUFWriter, directory: Path, config: Any, stored: str) -> None:
    """Adds name, dimensions and rotary embedding; `stored`: the type of the matrices, as llama.cpp calls it.

    Raises UnsupportedModelError for an embedding or activation that llama.cpp would compute otherwise.
    """
    import gguf

    if getattr(config, "hidden_act", "silu") != "silu":
        raise UnsupportedModelError(f"{directory}: hidden_act is {config.hidden_act}, only silu is converted")
    width = head_width(config)
    kind = "ALL" if stored == "F32" else "MOSTLY"
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(directory.resolve().name)
    writer.add_file_type(gguf.LlamaFileType[f"{kind}_{stored}"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _describe_rotary(writer, directory, config)


def _describe_rotary(writer: GGUFWriter, directory: Path, config: Any) -> None:
    import gguf

    rope = dict(config.rope_parameters)
    kind = rope["rope_type"]
    writer.add_rope_freq_base(rope["rope_theta"])
    known = kind in SCALED and (kind != "llama3" or writer.arch == LLAMA)
    if not known or (kind == "yarn" and not {name for name, value in rope.items() if value is not None} <= YARN):
        raise UnsupportedModelError(f"{directory}: the rotary embedding {kind} is not converted for {writer.arch}")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(
            rope.get("original_max_position_embeddings") or config.max_position_embeddings
        )
        for name, add in (
            ("beta_fast", writer.add_rope_scaling_yarn_beta_fast),
            ("beta_slow", writer.add_rope_scaling_yarn_beta_slow),
        ):
            if rope.get(name) is not None:
                add(rope[name])


def rope_frequencies(config: Any) -> npt.NDArray[np.float32] | None:
    """Returns by what llama.cpp divides the frequencies of a Llama 3 model, (head width / 2,); None: by nothing."""
    import torch

    if config.rope_parameters["rope_type"] != "llama3":
        return None
    from engine.rotary import rotary_frequencies

    scaled, _ = rotary_frequencies(config)
    width = head_width(config)
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    plain = 1.0 / config.rope_parameters["rope_theta"] ** exponents
    return np.asarray(plain / scaled, dtype=np.float32)
