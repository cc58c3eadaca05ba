"""llama.cpp's own tokenizer, of a library that is installed."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

MOST = 512  # bytes of a structure that is passed by value; declared longer than it is, the rest is not read
_POINTER = ctypes.c_void_p


class _Params(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * MOST),)


@cache
def _library() -> Any:
    """The library of xllamacpp. Skips the test where there is none."""
    spec = find_spec("xllamacpp")
    files = [file for folder in (spec and spec.submodule_search_locations) or () for file in Path(folder).glob("*.so")]
    if not files:
        pytest.skip("llama.cpp is not installed: the extra llamacpp brings it")
    library = ctypes.CDLL(str(files[0]))
    for name, returns, takes in (
        ("llama_model_default_params", _Params, ()),
        ("llama_model_load_from_file", _POINTER, (ctypes.c_char_p, _Params)),
        ("llama_model_get_vocab", _POINTER, (_POINTER,)),
        ("llama_model_free", None, (_POINTER,)),
        ("llama_vocab_is_eog", ctypes.c_bool, (_POINTER, ctypes.c_int32)),
        ("llama_vocab_n_tokens", ctypes.c_int32, (_POINTER,)),
        ("llama_vocab_get_text", ctypes.c_char_p, (_POINTER, ctypes.c_int32)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    library.llama_tokenize.argtypes = (
        *(_POINTER, ctypes.c_char_p, ctypes.c_int32, _POINTER, ctypes.c_int32),
        *(ctypes.c_bool, ctypes.c_bool),
    )
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, _POINTER)(lambda *_: None)
    library.kept = log  # the library calls it as long as it lives
    library.llama_log_set(log, None)
    library.llama_backend_init()
    return library


class LlamaVocabulary:
    """The vocabulary of a GGUF file as llama.cpp loads it."""

    def __init__(self, file: Path) -> None:
        self._library = _library()
        params = self._library.llama_model_default_params()
        extra = next(place for place in range(56, MOST) if params.bytes[place] == 1)  # use_extra_bufts, true by default
        params.bytes[extra - 2] = 1  # vocab_only
        self._model = self._library.llama_model_load_from_file(str(file).encode(), params)
        assert self._model, f"llama.cpp does not load {file}"
        self._vocabulary = self._library.llama_model_get_vocab(self._model)

    def encode(self, text: str, *, begins: bool = False) -> list[int]:
        """The tokens of a text, in which markers count; `begins`: with the BOS that the vocabulary adds."""
        said = text.encode()
        ids = (ctypes.c_int32 * (len(said) + 2))()
        place = ctypes.cast(ids, _POINTER)
        count = self._library.llama_tokenize(self._vocabulary, said, len(said), place, len(ids), begins, True)
        return list(ids[:count])

    def text(self, token: int) -> str:
        """A token as the vocabulary spells it."""
        said: bytes = self._library.llama_vocab_get_text(self._vocabulary, token)
        return said.decode()

    @property
    def ends(self) -> set[int]:
        """The tokens that end a reply."""
        count = self._library.llama_vocab_n_tokens(self._vocabulary)
        return {each for each in range(count) if self._library.llama_vocab_is_eog(self._vocabulary, each)}

    def close(self) -> None:
        """Frees it."""
        self._library.llama_model_free(self._model)
