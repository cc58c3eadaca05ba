"""Loading a model directory for ExLlamaV2, or saying clearly why this machine cannot serve it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from engine.base import CapacityError, CorruptModelError, EngineUnavailableError, UnsupportedModelError
from engine.checkpoint import read_config, weights_files
from engine.exllama.config import CacheType, ExLlamaConfig
from engine.exllama.paged_attention import flash_attention

log = logging.getLogger(__name__)

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Those that are checked; ExLlamaV2 would load any other as if it were Llama, with a warning."""
QUANTISED = frozenset({"exl2", "gptq"})
PAGE = 256  # tokens: what flash-attn's kernel takes
LEAST_PAGES = 3  # a prompt and its reply, and what a probe has of its own before and behind them
BYTES = {CacheType.FP16: 2.0, CacheType.Q8: 1.0625, CacheType.Q6: 0.8125, CacheType.Q4: 0.5625}
"""Of one value in the cache; the quantised ones keep a half-precision scale for each 32."""
WORKING = 1 << 30  # bytes beside weights, cache and a matrix to dequantise in: activations, CUDA's own; estimated
DEQUANTISED = 1 << 29  # weights: of the largest matrix no more are dequantised at once, ExLlamaV2's default


@dataclass(frozen=True, slots=True, kw_only=True)
class ExLlamaModel:
    """A loaded model and its cache, both ExLlamaV2's own."""

    model: Any
    cache: Any
    vocabulary: int
    max_positions: int


def check_machine() -> None:
    """Raises EngineUnavailableError unless ExLlamaV2 can run here; loads nothing."""
    if not torch.cuda.is_available():
        raise EngineUnavailableError(
            f"ExLlamaV2 needs an NVIDIA GPU, torch {torch.__version__} finds none: choose the torch engine, or "
            "install the CUDA build of torch and a driver"
        )
    if find_spec("exllamav2") is None:
        raise EngineUnavailableError(
            'exllamav2 is not installed: pip install "laser-serving[exllama]", or choose the torch engine'
        )


def check_model(directory: Path) -> Any:
    """The model's configuration, as transformers reads it. Raises UnsupportedModelError or CorruptModelError."""
    config = read_config(directory, QUANTISED)
    architecture = (config.architectures or ["unknown"])[0]
    if architecture not in ARCHITECTURES or len(config.architectures) != 1:
        raise UnsupportedModelError(
            f"{directory}: architecture {architecture} is not served by ExLlamaV2 here, which knows "
            f"{', '.join(ARCHITECTURES)}: choose the torch engine"
        )
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for name, value, multiple in (
        ("head_dim", head, 64),
        ("num_attention_heads × head_dim", config.num_attention_heads * head, 32),
        ("intermediate_size", config.intermediate_size, 32),
    ):
        if value % multiple:
            raise UnsupportedModelError(
                f"{directory}: {name} is {value}, must be a multiple of {multiple} for ExLlamaV2"
            )
    return config


def cache_bytes(config: Any, cells: int, kind: CacheType) -> int:
    """What so many cells of KV cache take; a quantised one has a layer in half precision beside it, to attend in."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * config.num_key_value_heads * head * cells  # of a layer
    attended = 0 if kind is CacheType.FP16 else 2 * values
    return int(config.num_hidden_layers * values * BYTES[kind]) + attended


def weights_bytes(directory: Path) -> int:
    """What the weights take in memory: plain ones are kept in half precision, whatever they are stored in."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for file in weights_files(directory):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - a handle, not a dict
                    part = tensors.get_slice(name)
                    count = 1
                    for size in part.get_shape():
                        count *= size
                    total += count * _WIDTHS.get(part.get_dtype(), 2)
        except (SafetensorError, OSError) as error:
            raise CorruptModelError(f"{file} is damaged: {error}") from error
    return total


_WIDTHS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


def gpu_bytes(directory: Path, config: Any) -> int:
    """What of the weights lies on the GPU: a token's embedding is looked up in main memory.

    A model that has one matrix for embedding and head has a copy of it in each.
    """
    tied = getattr(config, "tie_word_embeddings", False)
    return weights_bytes(directory) - (0 if tied else 2 * config.vocab_size * config.hidden_size)


def check_memory(directory: Path, config: Any, settings: ExLlamaConfig, free: int) -> None:
    """Raises CapacityError where model and cache need more than the `free` bytes of the GPU."""
    if settings.cells < LEAST_PAGES * PAGE:
        raise CapacityError(f"cells is {settings.cells}, must be at least {LEAST_PAGES * PAGE} with ExLlamaV2")
    weights, cache = gpu_bytes(directory, config), cache_bytes(config, settings.cells, settings.cache)
    quantised = getattr(config, "quantization_config", None) is not None
    largest = config.hidden_size * max(config.vocab_size, config.intermediate_size)
    work = WORKING + (2 * min(largest, DEQUANTISED) if quantised else 0)
    need = weights + cache + work
    if need > free:
        raise CapacityError(
            f"{directory} needs about {_gib(need)} of GPU memory ({_gib(weights)} weights, {_gib(cache)} for "
            f"{settings.cells} cells of {settings.cache} cache, {_gib(work)} to work in), {_gib(free)} are free: "
            "fewer cells, a smaller cache type (q8, q6, q4) or fewer bits a weight (laser quantize)"
        )


def load_exllama(directory: Path, settings: ExLlamaConfig) -> ExLlamaModel:
    """The model in `directory`, on the first GPU.

    Raises EngineUnavailableError, UnsupportedModelError, CorruptModelError or CapacityError.
    """
    check_machine()
    config = check_model(directory)
    check_memory(directory, config, settings, torch.cuda.mem_get_info(0)[0])
    exllamav2 = import_exllamav2(torch.device("cuda:0"))
    from engine.exllama.selftest import check_attention, check_head_norm

    exl = configured(directory, config, settings)
    kind = {
        CacheType.FP16: exllamav2.ExLlamaV2Cache,
        CacheType.Q8: exllamav2.ExLlamaV2Cache_Q8,
        CacheType.Q6: exllamav2.ExLlamaV2Cache_Q6,
        CacheType.Q4: exllamav2.ExLlamaV2Cache_Q4,
    }[settings.cache]
    try:
        model = exllamav2.ExLlamaV2(exl)
        model.load()
        cache = kind(model, max_seq_len=-(-settings.cells // PAGE) * PAGE)
        torch.cuda.synchronize()  # it is zeroed on another stream than the model computes on
    except torch.cuda.OutOfMemoryError as error:
        raise CapacityError(f"{directory} and {settings.cells} cells do not fit the GPU: {error}") from error
    try:
        check_head_norm(model)
        check_attention(model, cache, PAGE)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{directory} would be decoded wrongly, so it is not served: {error}") from error
    return ExLlamaModel(model=model, cache=cache, vocabulary=exl.vocab_size, max_positions=exl.max_seq_len)


def import_exllamav2(device: torch.device) -> Any:
    """The package, with some paged attention; its first import builds its CUDA extension, which takes minutes.

    Raises EngineUnavailableError where the extension cannot be built.
    """
    with flash_attention(device) as packaged, scripts_on_path():
        try:
            import exllamav2
            from exllamav2 import attn
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineUnavailableError(
                f"ExLlamaV2's CUDA extension cannot be loaded or built: {error}; building it needs a C++ compiler, "
                f"ninja, and the CUDA toolkit (nvcc, CUDA_HOME) of torch's version, {torch.version.cuda}"
            ) from error
    if not attn.has_flash_attn_with_paged:
        assert packaged, "exllamav2 was imported before it was given an attention"
        raise EngineUnavailableError("flash-attn is installed, but is older than 2.5.7: upgrade or remove it")
    if not packaged:
        log.info("flash-attn is not installed: torch's own attention serves, which may be slower")
    return exllamav2


@contextmanager
def scripts_on_path() -> Iterator[None]:
    """While it lasts, programs that lie beside the interpreter are found, such as ninja in an environment's folder."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def configured(directory: Path, config: Any, settings: ExLlamaConfig) -> Any:
    """ExLlamaV2's configuration of a model."""
    from exllamav2 import ExLlamaV2Config

    try:
        exl = ExLlamaV2Config(str(directory))
    except (AssertionError, ValueError, TypeError, KeyError, OSError) as error:
        raise CorruptModelError(f"{directory}: ExLlamaV2 cannot read it: {error}") from error
    exl.max_input_len = -(-max(settings.prefill_chunk, settings.max_rows) // PAGE) * PAGE
    exl.max_attention_size = exl.max_input_len**2
    put_right(exl, directory, config)
    return exl


def put_right(exl: Any, directory: Path, config: Any) -> None:
    """Correct what ExLlamaV2's configuration has misread. Raises UnsupportedModelError where that does not help."""
    from engine.exllama.rope import check_rope, set_rope

    exl.no_sdpa = True  # without flash-attn and xformers its SDPA path is not causal
    exl.arch.lm.headnorm = "rmsnorm"  # Qwen3's; the only one among these architectures that has head norms
    set_rope(exl, config)
    try:
        check_rope(exl, config)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{directory} would be decoded wrongly, so it is not served: {error}") from error


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
