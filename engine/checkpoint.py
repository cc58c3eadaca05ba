"""Reads a model directory's configuration for any engine, and refuses what no engine here decodes correctly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.base import CorruptModelError, UnsupportedModelError
from models.directory import there
from models.files.json_file import read_object, shown
from models.foreign import told
from models.gguf.model import find_gguf

MOST: dict[str, int] = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 24,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 1 << 16,
    "num_key_value_heads": 1 << 16,
    "head_dim": 1 << 16,
    "max_position_embeddings": 1 << 24,
}
"""The dimensions that engines read of a configuration, and the most that each may be."""
QUANTISATIONS = "quantization_config", "compression_config"
ADAPTER = "adapter_config.json"
STATED: Mapping[str, type] = {
    **dict.fromkeys(MOST, int),
    "rms_norm_eps": float,
    "tie_word_embeddings": bool,
    "attention_bias": bool,
    "use_sliding_window": bool,
    "hidden_act": str,
}
"""What engines read of a plain Qwen3 model's configuration, but its rotary embedding."""
UNREAD = frozenset(
    (
        *("attention_dropout", "bos_token_id", "dtype", "eos_token_id", "initializer_range", "pad_token_id"),
        *("rope_theta", "torch_dtype", "transformers_version", "use_cache"),
    )
)
"""What such a config.json may say besides: no engine reads it, and rope_parameters tell the angle."""
FULL = frozenset(("full_attention", "attention", "chunked_attention"))
"""The types of layers that are decoded; chunks are as long as the longest sequence."""
_EPSILONS = "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"


def read_config(directory: Path, quantised: frozenset[str] = frozenset(), *, bare: bool = False) -> Any:
    """Returns a model's configuration as transformers reads it; `quantised` lists the allowed quantisation methods.

    `bare`: it is not used to make a model of transformers, so its attributes suffice; one that states them all is read
    without transformers, whose import takes long. Raises CorruptModelError if config.json is missing or unusable,
    UnsupportedModelError if the weights are quantised by another method or no engine here decodes the model correctly.
    """
    if find_gguf(directory) is not None:
        raise UnsupportedModelError(f"{directory}: is a GGUF file, which the engine llamacpp alone runs")
    path = directory / "config.json"
    if not there(path, CorruptModelError):
        raise CorruptModelError(f"{directory}: config.json is missing; a model directory is needed")
    said = read_object(path, CorruptModelError)
    _check_plain(directory, said, quantised)
    if bare and _states_all(said):
        config: Any = SimpleNamespace(sliding_window=None, **said)
    else:
        config = _of_transformers(directory, path)
    _check_numbers(path, config)
    for rope in _rotaries(config):
        _check_rope(path, rope)
    _check_attention(directory, config)
    return config


def _of_transformers(directory: Path, path: Path) -> Any:
    from transformers import AutoConfig

    with told(f"{path} cannot be used", CorruptModelError):
        config: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    _check_architecture(path, config)
    return config


def _states_all(said: Mapping[str, Any]) -> bool:
    """Whether a config.json states all that engines read of a Qwen3 model, and nothing unusual."""
    rope = said.get("rope_parameters")
    return (
        set(said) <= {*STATED, *UNREAD, "model_type", "architectures", "rope_parameters"}
        and all(type(said.get(name)) is its_type for name, its_type in STATED.items())
        and (said.get("model_type"), said.get("architectures")) == ("qwen3", ["Qwen3ForCausalLM"])
        and (said["hidden_act"], said["use_sliding_window"]) == ("silu", False)
        and isinstance(rope, dict)
        and set(rope) == {"rope_type", "rope_theta"}
        and rope["rope_type"] == "default"
    )


def architecture_of(config: Any) -> str:
    """Returns the one architecture that a configuration of `read_config` names."""
    name: str = config.architectures[0]
    return name


def _check_plain(directory: Path, said: Mapping[str, Any], quantised: frozenset[str]) -> None:
    """Raises an error if the directory holds an adapter, or weights that are quantised by a method not in `quantised`.

    Older files say `compression_config`; files of several models have one for each.
    """
    if there(directory / ADAPTER, CorruptModelError):
        raise UnsupportedModelError(f"{directory}: {ADAPTER} names an adapter, which must be merged into the weights")
    parts = [said, *(part for part in said.values() if isinstance(part, dict))]
    for part, name in ((part, name) for part in parts for name in QUANTISATIONS):
        settings = part.get(name)
        if settings is None:
            continue
        if not isinstance(settings, dict):
            raise CorruptModelError(f"{directory}/config.json: {name} is {shown(settings)}, must be an object")
        method = settings.get("quant_method") or settings.get("quant_algo") or "unknown"
        if part is not said or name != QUANTISATIONS[0] or not isinstance(method, str) or method not in quantised:
            known = f"only plain weights{''.join(f' and {name}' for name in sorted(quantised))} are supported"
            shortly = method[:40] if isinstance(method, str) else shown(method)
            raise UnsupportedModelError(f"{directory}: {name} says that the weights are quantised ({shortly}), {known}")


def _check_architecture(path: Path, config: Any) -> None:
    """Raises an error unless the configuration names one architecture, the one that transformers runs for its type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    listed = config.architectures
    if not (isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], str)):
        raise CorruptModelError(f"{path}: architectures is {shown(listed)}, must name one architecture")
    kind, name = str(config.model_type), listed[0]
    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if known is None:
        raise UnsupportedModelError(
            f"{path}: {shown(name)[1:-1]} of model_type {kind} is no causal language model that transformers knows"
        )
    names = (known,) if isinstance(known, str) else tuple(known)
    if name.lower() not in {each.lower() for each in names}:  # the first Llamas say LLaMAForCausalLM
        raise UnsupportedModelError(
            f"{path}: architectures is {shown(name)}, must be {' or '.join(names)} for model_type {kind}"
        )


def _check_numbers(path: Path, config: Any) -> None:
    """Raises CorruptModelError unless the dimensions that engines read are whole numbers in range and fit together.

    What a configuration leaves out, and what some families list layer by layer, passes.
    """
    for name, most in MOST.items():
        value = getattr(config, name, None)
        if value is None or isinstance(value, (list, tuple)):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise CorruptModelError(f"{path}: {name} is {shown(value)}, must be a whole number in 1…{most}")
    for name in _EPSILONS:
        value = getattr(config, name, None)
        if value is not None and not (_is_number(value) and 0.0 <= value <= 1.0):
            raise CorruptModelError(f"{path}: {name} is {shown(value)}, must be a number in 0…1")
    heads, groups = getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        raise CorruptModelError(f"{path}: num_attention_heads is {heads}, must be a multiple of the {groups} for keys")
    hidden, own = getattr(config, "hidden_size", None), getattr(config, "head_dim", None)
    if isinstance(heads, int) and isinstance(hidden, int) and own is None and hidden % heads:
        raise CorruptModelError(f"{path}: hidden_size is {hidden}, must be a multiple of num_attention_heads, {heads}")


def _rotaries(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the settings of each rotary embedding; some families have one for each type of layer."""
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, Mapping) and rope:
        inner = [part for part in rope.values() if isinstance(part, Mapping)]
        yield from (inner if inner and "rope_type" not in rope else [rope])


def _check_rope(path: Path, rope: Mapping[str, Any]) -> None:
    """Raises an error if a rotary embedding is of a kind that is unknown or not served, or holds what is no number."""
    kind = rope.get("rope_type", "default")
    if kind != "default":
        _check_kind(path, kind)
    for name, value in rope.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CorruptModelError(f"{path}: {name} of its rotary embedding is {value}, must be finite")
    for name in ("rope_theta", "factor", "partial_rotary_factor", "original_max_position_embeddings"):
        value = rope.get(name)
        if value is not None and not (_is_number(value) and value > 0):
            raise CorruptModelError(f"{path}: {name} of its rotary embedding is {shown(value)}, must be above 0")


def _check_attention(directory: Path, config: Any) -> None:
    """Raises UnsupportedModelError if a token does not attend to all tokens before it, or far ones otherwise than near.

    The torch engine would decode such a model without a sign of it, since it holds a few tokens only against
    transformers.
    """
    kinds = dict.fromkeys(getattr(config, "layer_types", None) or ())
    longest = getattr(config, "max_position_embeddings", None) or math.inf
    chunk = getattr(config, "attention_chunk_size", None)
    if "sliding_attention" in kinds or getattr(config, "sliding_window", None):  # None and 0: no window
        what = f"sliding-window attention (window {config.sliding_window})"
    elif "chunked_attention" in kinds and (not chunk or chunk < longest):
        what = f"chunked attention (chunks of {chunk} of at most {longest} tokens)"
    elif getattr(config, "attn_temperature_tuning", None) and config.floor_scale <= longest:
        what = f"attention that is tuned by position (from token {config.floor_scale} of at most {longest})"
    elif others := [kind for kind in kinds if kind not in FULL]:
        what = f"layers of {', '.join(map(str, others))} ({architecture_of(config)})"
    else:
        return
    raise UnsupportedModelError(f"{directory}: the model uses {what}, only full attention is supported")


def _check_kind(path: Path, kind: object) -> None:
    """Raises UnsupportedModelError if a rotary embedding's rule is unknown or not served."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if kind == "longrope":
        raise UnsupportedModelError(
            f"{path.parent}: the model's rotary embedding is longrope, which changes with a sequence's length; "
            "sequences of many lengths share a batch here"
        )
    known = sorted({"default", *ROPE_INIT_FUNCTIONS} - {"longrope"})
    if not isinstance(kind, str) or kind not in known:
        raise UnsupportedModelError(f"{path}: rope_type is {shown(kind)}, must be one of {', '.join(known)}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
