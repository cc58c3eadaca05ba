"""The structures of llama.h that are passed by value, as they lie in the versions of llama.cpp that are known here.

llama.h promises no stable layout, so each is declared whole, with what its default values are: a library whose defaults
read otherwise has another layout. A structure may be declared longer than it is: nothing reads the rest.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_bool, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any

_REST = ("rest", ctypes.c_uint8 * 64)  # of newer versions, whose fields we do not set


class Batch(ctypes.Structure):
    """llama_batch: rows of (token, position, sequences, wants logits), as parallel arrays."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", ctypes.POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", ctypes.POINTER(c_int32)),
        ("n_seq_id", ctypes.POINTER(c_int32)),
        ("seq_id", ctypes.POINTER(c_void_p)),
        ("logits", ctypes.POINTER(c_int8)),
    )


class ModelParams(ctypes.Structure):
    """llama_model_params of llama.cpp 0.5 and 0.6."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
        _REST,
    )


_BEFORE_0_6: tuple[tuple[str, Any], ...] = (
    ("n_ctx", c_uint32),
    ("n_batch", c_uint32),
    ("n_ubatch", c_uint32),
    ("n_seq_max", c_uint32),
    ("n_rs_seq", c_uint32),
    ("n_outputs_max", c_uint32),
    ("n_outputs_max_per_seq", c_uint32),
    ("n_threads", c_int32),
    ("n_threads_batch", c_int32),
    ("ctx_type", c_int32),
    ("rope_scaling_type", c_int32),
    ("pooling_type", c_int32),
    ("attention_type", c_int32),
    ("flash_attn_type", c_int32),
    ("rope_freq_base", c_float),
    ("rope_freq_scale", c_float),
    ("yarn_ext_factor", c_float),
    ("yarn_attn_factor", c_float),
    ("yarn_beta_fast", c_float),
    ("yarn_beta_slow", c_float),
    ("yarn_orig_ctx", c_uint32),
    ("defrag_thold", c_float),
    ("cb_eval", c_void_p),
    ("cb_eval_user_data", c_void_p),
    ("type_k", c_int32),
    ("type_v", c_int32),
)
_AFTER: tuple[tuple[str, Any], ...] = (
    ("abort_callback", c_void_p),
    ("abort_callback_data", c_void_p),
    ("embeddings", c_bool),
    ("offload_kqv", c_bool),
    ("no_perf", c_bool),
    ("op_offload", c_bool),
    ("swa_full", c_bool),
    ("kv_unified", c_bool),
    ("samplers", c_void_p),
    ("n_samplers", c_size_t),
    ("ctx_other", c_void_p),
    _REST,
)


class ContextParams05(ctypes.Structure):
    """llama_context_params of llama.cpp 0.5, as in llama-cpp-python 0.3.36."""

    _fields_ = (*_BEFORE_0_6, *_AFTER)


class ContextParams06(ctypes.Structure):
    """llama_context_params of llama.cpp 0.6, as in xllamacpp 2026.10."""

    _fields_ = (*_BEFORE_0_6, ("moe_cache_size", c_size_t), *_AFTER)


CONTEXT_PARAMS: dict[str, type[ctypes.Structure]] = {"0.5": ContextParams05, "0.6": ContextParams06}
"""llama_context_params by llama.cpp's version."""

MODEL_DEFAULTS: Mapping[str, Any] = {
    "devices": None,
    "tensor_buft_overrides": None,
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "main_gpu": 0,
    "tensor_split": None,
    "progress_callback": None,
    "progress_callback_user_data": None,
    "kv_overrides": None,
    "vocab_only": False,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_host": False,
    "no_alloc": False,
    "load_mtp": False,
}
"""What llama_model_default_params returns."""

CONTEXT_DEFAULTS: Mapping[str, Any] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_rs_seq": 0,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "ctx_type": 0,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "rope_freq_base": 0.0,
    "rope_freq_scale": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": -1.0,
    "yarn_beta_fast": -1.0,
    "yarn_beta_slow": -1.0,
    "yarn_orig_ctx": 0,
    "defrag_thold": -1.0,
    "cb_eval": None,
    "cb_eval_user_data": None,
    "type_k": 1,
    "type_v": 1,
    "abort_callback": None,
    "abort_callback_data": None,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
    "samplers": None,
    "n_samplers": 0,
    "ctx_other": None,
}
"""What llama_context_default_params returns."""


def unlike(values: ctypes.Structure, defaults: Mapping[str, Any]) -> str | None:
    """Returns the first field that does not hold its default, and what it holds, in words; None: all do."""
    for name, expected in defaults.items():
        found = getattr(values, name)
        if found != expected:
            return f"{name} is {found}, expected {expected}"
    return None
