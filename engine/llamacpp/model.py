"""A GGUF file that llama.cpp has loaded, and what the engine must know of it."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from pathlib import Path

from engine.base import CorruptModelError, UnsupportedModelError
from engine.llamacpp.architectures import UNKNOWN
from engine.llamacpp.library import Library, llama


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """How a GGUF file is loaded."""

    gpu_layers: int = -1  # layers that a GPU computes; -1: all
    mmap: bool = True  # weights stay in the file's pages, which several processes share
    repack: bool = True  # weights may be rearranged for this CPU, which makes long batches faster


class LlamaModel:
    """A loaded model; it is freed with its last reference."""

    def __init__(self, file: Path, loading: LoadSettings | None = None) -> None:
        """Raises UnsupportedModelError for what llama.cpp cannot decode, CorruptModelError for what it cannot read."""
        self.library: Library = llama()
        self.file = file
        loading = loading or LoadSettings()
        library = self.library
        params = library.llama_model_default_params()
        params.n_gpu_layers = loading.gpu_layers
        params.load_mode = int(loading.mmap)
        params.use_extra_bufts = loading.repack
        library.log.forget()
        handle = library.llama_model_load_from_file(str(file).encode(), params)
        if not handle:
            said = library.log.errors or "no reason is given"
            kind = UnsupportedModelError if UNKNOWN in said else CorruptModelError
            raise kind(f"{file}: llama.cpp {library.version} cannot load it: {said}")
        self.handle = handle
        self._finalizer = weakref.finalize(self, library.llama_model_free, handle)
        self._finalizer.atexit = False  # the process's end frees all
        self._check_decodes()
        self.vocabulary: int = library.llama_vocab_n_tokens(library.llama_model_get_vocab(handle))
        self.max_positions: int = library.llama_model_n_ctx_train(handle)
        self.window: int = library.llama_model_n_swa(handle)  # tokens that some layers look back; 0: all see everything
        # some layers keep a state in place of keys and values, from which no token can be taken away again
        self.recurrent: bool = library.llama_model_is_recurrent(handle) or library.llama_model_is_hybrid(handle)

    @property
    def described(self) -> str:
        """Returns size and number format in llama.cpp's words, as in `llama 135M Q4_1`."""
        words = ctypes.create_string_buffer(256)
        self.library.llama_model_desc(self.handle, words, len(words))
        return words.value.decode(errors="replace")

    def _check_decodes(self) -> None:
        library, handle = self.library, self.handle
        if library.llama_model_has_encoder(handle) or not library.llama_model_has_decoder(handle):
            raise UnsupportedModelError(f"{self.file}: the model has an encoder; only decoders are served")
        if library.llama_model_is_diffusion(handle):
            raise UnsupportedModelError(f"{self.file}: the model writes by diffusion, not token by token")
