"""llama.cpp's shared library: where it lies, that its layouts are known, and the functions of llama.h that we call."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from ctypes import c_bool, c_char_p, c_int32, c_size_t, c_uint32, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.base import EngineUnavailableError
from engine.llamacpp.logs import LogSink
from engine.llamacpp.structs import CONTEXT_DEFAULTS, CONTEXT_PARAMS, MODEL_DEFAULTS, Batch, ModelParams, unlike

log = logging.getLogger(__name__)

INSTALL = "pip install xllamacpp==2026.10.11549, in a checkout pip install -c constraints.txt -e '.[llamacpp]'"
MISSING = f"llama.cpp is not installed, which GGUF models need: {INSTALL}"
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "llama_cpp": ("lib/libllama.so", "lib/libllama.dylib", "lib/llama.dll"),  # built by the user, so for this machine
    "xllamacpp": ("xllamacpp*.so", "xllamacpp*.pyd"),
}
"""Packages that bring llama.cpp, and where in them its library lies; the first that fits is taken."""

CPU, GPU, INTEGRATED_GPU = range(3)  # types of devices
_MODEL, _CONTEXT, _MEMORY, _VOCABULARY = c_void_p, c_void_p, c_void_p, c_void_p
_SEQUENCE, _POSITION = c_int32, c_int32
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (c_void_p, c_void_p)),
    "ggml_backend_reg_count": (c_size_t, ()),
    "ggml_backend_load_all_from_path": (None, (c_char_p,)),
    "ggml_backend_dev_count": (c_size_t, ()),
    "ggml_backend_dev_get": (c_void_p, (c_size_t,)),
    "ggml_backend_dev_type": (c_int32, (c_void_p,)),
    "ggml_backend_dev_description": (c_char_p, (c_void_p,)),
    "ggml_backend_dev_memory": (None, (c_void_p, c_void_p, c_void_p)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_model_load_from_file": (_MODEL, (c_char_p, ModelParams)),
    "llama_model_free": (None, (_MODEL,)),
    "llama_model_get_vocab": (_VOCABULARY, (_MODEL,)),
    "llama_vocab_n_tokens": (c_int32, (_VOCABULARY,)),
    "llama_model_n_ctx_train": (c_int32, (_MODEL,)),
    "llama_model_n_swa": (c_int32, (_MODEL,)),
    "llama_model_desc": (c_int32, (_MODEL, c_char_p, c_size_t)),
    "llama_model_has_encoder": (c_bool, (_MODEL,)),
    "llama_model_has_decoder": (c_bool, (_MODEL,)),
    "llama_model_is_recurrent": (c_bool, (_MODEL,)),
    "llama_model_is_hybrid": (c_bool, (_MODEL,)),
    "llama_model_is_diffusion": (c_bool, (_MODEL,)),
    "llama_free": (None, (_CONTEXT,)),
    "llama_n_batch": (c_uint32, (_CONTEXT,)),
    "llama_n_ctx": (c_uint32, (_CONTEXT,)),
    "llama_set_n_threads": (None, (_CONTEXT, c_int32, c_int32)),
    "llama_get_memory": (_MEMORY, (_CONTEXT,)),
    "llama_memory_clear": (None, (_MEMORY, c_bool)),
    "llama_memory_seq_rm": (c_bool, (_MEMORY, _SEQUENCE, _POSITION, _POSITION)),
    "llama_memory_seq_cp": (None, (_MEMORY, _SEQUENCE, _SEQUENCE, _POSITION, _POSITION)),
    "llama_memory_seq_pos_min": (_POSITION, (_MEMORY, _SEQUENCE)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (c_int32, (_CONTEXT, Batch)),
    "llama_get_logits": (c_void_p, (_CONTEXT,)),
}
"""The functions that are called: what each returns and takes. Those with a layout of the version's own come apart."""


class Library:
    """A loaded llama.cpp library; its attributes are llama.h's functions."""

    def __init__(self, path: Path, package: str) -> None:
        """Raises EngineUnavailableError if the file cannot be loaded or is of a version that is not known here."""
        self.package = package
        try:
            self._loaded = ctypes.CDLL(str(path))
            for name, (returns, takes) in _FUNCTIONS.items():
                self._declare(name, returns, takes)
            version = self._loaded.llama_version
        except (OSError, AttributeError) as error:
            raise EngineUnavailableError(f"{path}: cannot be used as llama.cpp: {error}; {INSTALL}") from error
        version.restype = c_char_p
        self.version: str = version().decode(errors="replace")
        self.ContextParams = self._checked_layouts(path)
        self._declare("llama_context_default_params", self.ContextParams, ())
        self._declare("llama_init_from_model", _CONTEXT, (_MODEL, self.ContextParams))
        self.log = LogSink(self.llama_log_set)
        if not self.ggml_backend_reg_count():  # built with its backends apart
            self.ggml_backend_load_all_from_path(str(path.parent).encode())
        self.llama_backend_init()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        found: Callable[..., Any] = getattr(self._loaded, name)
        setattr(self, name, found)
        return found

    def _declare(self, name: str, returns: Any, takes: tuple[Any, ...]) -> None:
        function = getattr(self._loaded, name)
        function.restype, function.argtypes = returns, takes

    def _checked_layouts(self, path: Path) -> type[ctypes.Structure]:
        """Returns the class of this version's llama_context_params."""
        known = ", ".join(CONTEXT_PARAMS)
        where = f"{path} is llama.cpp {self.version} (known are {known})"
        wrong = unlike(self._loaded.llama_model_default_params(), MODEL_DEFAULTS)
        if wrong is not None:
            raise EngineUnavailableError(f"{where}: llama_model_params has another layout: {wrong}; {INSTALL}")
        wrong = self._unlike_batch()
        if wrong is not None:
            raise EngineUnavailableError(f"{where}: llama_batch has another layout: {wrong}; {INSTALL}")
        function = self._loaded.llama_context_default_params
        for kind in reversed(CONTEXT_PARAMS.values()):  # by its defaults: a version's number comes before its changes
            function.restype = kind
            wrong = unlike(function(), CONTEXT_DEFAULTS)
            if wrong is None:
                return kind
        raise EngineUnavailableError(f"{where}: llama_context_params has another layout: {wrong}; {INSTALL}")

    def _unlike_batch(self) -> str | None:
        """Returns what an empty batch for two rows has that llama_batch should not have; None: nothing."""
        batch = self._loaded.llama_batch_init(2, 0, 1)
        if batch.n_tokens != 0 or batch.embd is not None:
            return f"n_tokens is {batch.n_tokens}, expected 0; embd is {batch.embd}, expected None"
        missing = [name for name in ("token", "pos", "n_seq_id", "seq_id", "logits") if not getattr(batch, name)]
        if missing:
            return f"{missing[0]} is None, expected an array"
        if not (batch.seq_id[0] and batch.seq_id[1]) or batch.seq_id[2] is not None:
            return "seq_id does not list two rows"
        self._loaded.llama_batch_free(batch)
        return None

    def gpus(self) -> list[str]:
        """Returns what the GPUs are called that the library can compute on."""
        found = self._devices(GPU, INTEGRATED_GPU)
        return [self.ggml_backend_dev_description(device).decode(errors="replace") for device in found]

    def gpu_memory(self) -> list[int]:
        """Returns how many bytes are free in each GPU that has memory of its own; 0: it does not tell."""
        return [] if sys.platform == "darwin" else self.free_bytes(GPU)  # Apple's share the main memory

    def free_bytes(self, kind: int) -> list[int]:
        """Returns how many bytes are free in the memory of each device of a kind."""
        free, whole, found = c_size_t(), c_size_t(), []
        for device in self._devices(kind):
            self.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(whole))
            found.append(free.value)
        return found

    def _devices(self, *kinds: int) -> list[int]:
        devices = [self.ggml_backend_dev_get(index) for index in range(self.ggml_backend_dev_count())]
        return [device for device in devices if self.ggml_backend_dev_type(device) in kinds]


@cache
def llama() -> Library:
    """Returns the library, which a process loads once. Raises EngineUnavailableError if there is none that fits."""
    unfit = []
    for package, path in _installed():
        try:
            return Library(path, package)
        except EngineUnavailableError as error:
            log.info("another llama.cpp is looked for: %s", error)
            unfit.append(error)
    if unfit:
        raise unfit[0]
    raise EngineUnavailableError(MISSING)


def check_installed() -> None:
    """Raises EngineUnavailableError if no package here brings llama.cpp; loads nothing."""
    if next(_installed(), None) is None:
        raise EngineUnavailableError(MISSING)


def _installed() -> Iterator[tuple[str, Path]]:
    for package, patterns in PACKAGES.items():
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for pattern in patterns:
                for path in sorted(Path(folder).glob(pattern)):
                    yield package, path
