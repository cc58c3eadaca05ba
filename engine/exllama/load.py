"""Loads a model directory for ExLlamaV2, or raises an error that says why this machine cannot serve it."""

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
from engine.checkpoint import architecture_of, read_config
from engine.exllama.config import CacheType, ExLlamaConfig
from engine.exllama.paged_attention import flash_attention
from engine.exllama.weights import check_weights
from engine.loading import loaded
from engine.weights import stored_tensors
from models.foreign import in_one_line

log = logging.getLogger(__name__)

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""The architectures that are checked; ExLlamaV2 would load any other as if it were Llama, with only a warning."""
QUANTISED = frozenset({"exl2", "gptq"})
PAGE = 256  # tokens per page, as flash-attn's kernel requires
LEAST_PAGES = 3  # one for a prompt and its reply, two in which a probe starts and ends
BYTES = {CacheType.FP16: 2.0, CacheType.Q8: 1.0625, CacheType.Q6: 0.8125, CacheType.Q4: 0.5625}
"""Bytes per value in the cache; the quantised types keep a half-precision scale for every 32 values."""
WORKING = 1 << 30  # bytes besides weights, cache and dequantisation buffer: activations, CUDA's own; estimated
DEVICE_ERROR: type[Exception] = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)  # older torch lacks it
DEQUANTISED = 1 << 29  # most weights of one matrix that are dequantised at once, ExLlamaV2's default


@dataclass(frozen=True, slots=True, kw_only=True)
class ExLlamaModel:
    """A loaded model and its cache, both ExLlamaV2 objects."""

    model: Any
    cache: Any
    vocabulary: int
    max_positions: int


def check_machine() -> None:
    """Raises EngineUnavailableError if ExLlamaV2 cannot run on this machine; loads nothing."""
    if not torch.cuda.is_available():
        raise EngineUnavailableError(
            f"ExLlamaV2 needs an NVIDIA GPU, torch {torch.__version__} finds none: choose the torch engine, or "
            "install the CUDA build of torch and a driver"
        )
    if find_spec("exllamav2") is None:
        raise EngineUnavailableError(
            "exllamav2 is not installed: pip install exllamav2==0.3.2 (docs/gpu.md), or choose the torch engine"
        )


def gpu_name() -> str:
    """Returns the name of the GPU that a model is loaded onto."""
    return str(torch.cuda.get_device_name(0))


def check_model(directory: Path) -> Any:
    """Returns the model's configuration as transformers reads it.

    Raises UnsupportedModelError if ExLlamaV2 does not serve the model here or has no use for a tensor of its weights,
    CorruptModelError if config.json is missing or unusable or a tensor is missing.
    """
    config = read_config(directory, QUANTISED)
    architecture = architecture_of(config)
    if architecture not in ARCHITECTURES:
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
    check_weights(directory, config)
    return config


def cache_bytes(config: Any, cells: int, kind: CacheType) -> int:
    """Bytes of a KV cache of `cells` cells; a quantised one also needs one layer in half precision to attend over."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * config.num_key_value_heads * head * cells  # of a layer
    attended = 0 if kind is CacheType.FP16 else 2 * values
    return int(config.num_hidden_layers * values * BYTES[kind]) + attended


def weights_bytes(directory: Path) -> int:
    """Bytes of the weights in memory: plain weights are held in half precision, whatever type the files store.

    Raises CorruptModelError if a file is missing or damaged.
    """
    stored = stored_tensors(directory)
    return sum(tensor.values * _WIDTHS.get(tensor.dtype, 2) for tensor in stored.values())


_WIDTHS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


def gpu_bytes(directory: Path, config: Any) -> int:
    """Bytes of the weights on the GPU: the token embedding stays in main memory.

    A model that ties embedding and head keeps a copy of the matrix in both places.
    """
    tied = getattr(config, "tie_word_embeddings", False)
    return weights_bytes(directory) - (0 if tied else 2 * config.vocab_size * config.hidden_size)


def check_memory(directory: Path, config: Any, settings: ExLlamaConfig, free: int) -> None:
    """Raises CapacityError if model and cache need more than the `free` bytes of the GPU, or `cells` is too small."""
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
    """Loads the model in `directory` onto the first GPU.

    Raises EngineUnavailableError if ExLlamaV2 cannot run here, UnsupportedModelError if it would decode the model
    wrongly, CorruptModelError if the model's files are damaged, CapacityError if model and cache do not fit the GPU.
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
        model.load(callback=lambda done, of: loaded(done / of))
        cache = kind(model, max_seq_len=-(-settings.cells // PAGE) * PAGE)
        torch.cuda.synchronize()  # the cache is zeroed on another stream than the model computes on
        torch.cuda.empty_cache()  # what loading used for a while lies under that other stream's name
        check_head_norm(model)
        check_attention(model, cache, PAGE)
    except torch.OutOfMemoryError as error:
        raise CapacityError(f"{directory} and {settings.cells} cells do not fit the GPU: {error}") from error
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{directory} would be decoded wrongly, so it is not served: {error}") from error
    except DEVICE_ERROR as error:  # no kernel for this GPU, for one, which the first that is called tells
        raise EngineUnavailableError(
            f"ExLlamaV2 cannot compute on this GPU, {gpu_name()}: {in_one_line(error)}"
        ) from error
    return ExLlamaModel(model=model, cache=cache, vocabulary=exl.vocab_size, max_positions=exl.max_seq_len)


def import_exllamav2(device: torch.device) -> Any:
    """Imports the package with a paged attention; the first import builds its CUDA extension, which takes minutes.

    Raises EngineUnavailableError if the extension cannot be built or the installed flash-attn is too old.
    """
    with flash_attention(device) as packaged, scripts_on_path():
        try:
            import exllamav2
            from exllamav2 import attn
        except (ImportError, OSError, RuntimeError, ValueError) as error:  # ValueError: an unknown GPU architecture
            raise EngineUnavailableError(
                f"ExLlamaV2's CUDA extension cannot be loaded or built: {error}; building it needs a C++ compiler, "
                f"ninja, and the CUDA toolkit (nvcc, CUDA_HOME) of torch's version, {torch.version.cuda}"
            ) from error
    if not attn.has_flash_attn_with_paged:
        if "EXLLAMA_NO_FLASH_ATTN" in os.environ:
            raise EngineUnavailableError(
                "EXLLAMA_NO_FLASH_ATTN is set, but ExLlamaV2 needs paged attention here: unset it"
            )
        assert packaged, "exllamav2 was imported before it was given an attention"
        raise EngineUnavailableError("flash-attn is installed, but is older than 2.5.7: upgrade or remove it")
    if not packaged:
        log.info("flash-attn is not installed: torch's own attention serves, which may be slower")
    return exllamav2


@contextmanager
def scripts_on_path() -> Iterator[None]:
    """Within the block, PATH includes the interpreter's folder, so that an environment's own ninja is found."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def configured(directory: Path, config: Any, settings: ExLlamaConfig) -> Any:
    """Returns ExLlamaV2's configuration of a model.

    Raises CorruptModelError if ExLlamaV2 cannot read it, UnsupportedModelError if it would be decoded wrongly.
    """
    from exllamav2 import ExLlamaV2Config

    try:
        exl = ExLlamaV2Config(str(directory))
    except (AssertionError, ValueError, TypeError, KeyError, OSError) as error:
        raise CorruptModelError(f"{directory}: ExLlamaV2 cannot read it: {in_one_line(error)}") from error
    exl.max_input_len = -(-max(settings.prefill_chunk, settings.max_rows) // PAGE) * PAGE
    exl.max_attention_size = exl.max_input_len**2
    put_right(exl, directory, config)
    return exl


def put_right(exl: Any, directory: Path, config: Any) -> None:
    """Correct ExLlamaV2's misread configuration. Raises UnsupportedModelError if its rotary embedding stays wrong."""
    from engine.exllama.rope import check_rope, set_rope

    exl.no_sdpa = True  # without flash-attn and xformers its SDPA path is not causal
    exl.arch.lm.headnorm = "rmsnorm"  # of ARCHITECTURES only Qwen3 has head norms, and they are of this kind
    set_rope(exl, config)
    try:
        check_rope(exl, config)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{directory} would be decoded wrongly, so it is not served: {error}") from error


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
