"""Which families of networks the llama.cpp that is installed here knows: asked of it, before a model is loaded."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.base import UnsupportedModelError
from engine.llamacpp.library import Library, llama
from models.files.json_file import shown
from models.gguf.header import MAGIC, VERSIONS
from models.gguf.model import NO_LANGUAGE_MODEL, GGUFModel

UNKNOWN = "model architecture: "  # so llama.cpp's errors name one that it does not know, or does not decode
KEY = "general.architecture"
TEXT = 8  # the number of a value's type


def check_architecture(model: GGUFModel) -> None:
    """Raises UnsupportedModelError, which lists what is known, if llama.cpp does not know the model's architecture.

    Loads the library, and nothing of the model. Raises EngineUnavailableError if there is no library.
    """
    library, name = llama(), model.architecture
    if knows(library, name):
        return
    listed = [each for each in _named() if each not in NO_LANGUAGE_MODEL and knows(library, each)]
    known = f"; it knows {', '.join(listed)}" if listed else ""
    raise UnsupportedModelError(
        f"{model.path}: {KEY} is {shown(name)}, which llama.cpp {library.version} ({library.package}) does not know"
        f"{known}"
    )


def knows(library: Library, architecture: str) -> bool:
    """Whether a llama.cpp decodes a family of networks: it is shown a file that names it and holds nothing else."""
    params = library.llama_model_default_params()
    params.vocab_only, params.n_gpu_layers = True, 0
    with TemporaryDirectory() as folder, library.log.to_itself():
        file = Path(folder) / "named.gguf"
        file.write_bytes(_naming(architecture))
        handle = library.llama_model_load_from_file(str(file).encode(), params)
        if handle:
            library.llama_model_free(handle)
        return UNKNOWN not in library.log.errors


def _naming(architecture: str) -> bytes:
    """Returns a GGUF file that names an architecture, without a tensor."""
    key, name = KEY.encode(), architecture.encode()
    head = struct.pack("<4sIQQ", MAGIC, VERSIONS[-1], 0, 1)
    return head + struct.pack("<Q", len(key)) + key + struct.pack("<IQ", TEXT, len(name)) + name


def _named() -> list[str]:
    """Returns the architectures that the package gguf can name; none where it is not installed."""
    if find_spec("gguf") is None:
        return []
    from gguf import MODEL_ARCH_NAMES

    return sorted(set(MODEL_ARCH_NAMES.values()))
