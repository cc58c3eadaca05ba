"""What a model's files say of it: how large it is, of which family, how it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.base import EngineError
from engine.inventory import inventory
from engine.weights import weights_files
from models.directory import gguf_of
from models.errors import LaserError
from models.files.json_file import read_object

SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model's files say of it. An empty text: they do not say it."""

    size: int  # bytes of the weights
    form: Literal["gguf", "safetensors"]  # of the files
    family: str  # architecture, such as qwen3
    stored: str  # type of the weights, such as BF16
    parameters: int | None  # None: not known
    modified_s: float  # s since 1970

    @property
    def digest(self) -> str:
        """What tells this state of the files from others, hexadecimal; it is no hash of their content."""
        told = f"{self.form} {self.family} {self.stored} {self.size} {self.modified_s}"
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def parameter_size(self) -> str:
        """The number of parameters in short, such as 7.6B."""
        if self.parameters is None:
            return ""
        unit, letter = next(((unit, letter) for unit, letter in SIZES if self.parameters >= unit), (1, ""))
        return f"{self.parameters / unit:.1f}{letter}"


def facts_of(directory: Path) -> ModelFacts:
    """Returns what the files of a served model say; reads their heads only. What they do not say is left out."""
    gguf = gguf_of(directory)
    files = weights_files(directory) if gguf is None else list(gguf.files)
    try:
        held = inventory(directory)
    except LaserError:  # it is served all the same
        held = None
    states = [file.stat() for file in files]
    return ModelFacts(
        size=sum(state.st_size for state in states),
        form="safetensors" if gguf is None else "gguf",
        family=_family(directory) if gguf is None else gguf.architecture,
        stored="" if held is None else held.stored,
        parameters=None if held is None else held.parameters,
        modified_s=max((state.st_mtime for state in states), default=0.0),
    )


def _family(directory: Path) -> str:
    return str(read_object(directory / "config.json", EngineError).get("model_type", ""))
