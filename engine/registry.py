"""Every engine by its kind, and the choice of the best that this machine and model allow.

A new engine is a package with its options, and one line in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from engine.base import NEEDS_PAUSES, EngineError, EngineUnavailableError, UnsupportedError, lacking
from engine.exllama.config import CacheType as CacheType  # options are named by the registry alone
from engine.fitting.fit import fitted
from engine.llamacpp.config import NONE_PAUSED
from engine.options import EngineOptions, Opened, default_threads
from engine.torch.config import Dtype as Dtype
from engine.torch.config import Runner as Runner
from models.errors import LaserError
from models.gguf.model import find_gguf
from models.plugins import load_named

AUTO = "auto"
ENGINES: dict[str, str] = {
    AUTO: "engine.registry:AutoOptions",
    "torch": "engine.torch.options:TorchOptions",
    "exllama": "engine.exllama.options:ExLlamaOptions",
    "llamacpp": "engine.llamacpp.options:LlamaOptions",
}
"""Each engine's kind, and the module and class of its options, which are imported when they are needed."""
FIRST, ELSE = "exllama", "torch"
"""What `auto` tries, and what it takes where the first cannot serve the model."""
OF_GGUF = "llamacpp"
"""What `auto` takes for a GGUF file, which no other engine reads."""
NO_PAUSES = lacking(OF_GGUF, "pausing", NEEDS_PAUSES, NONE_PAUSED)
"""What is wrong with pauses where llama.cpp keeps no places for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoOptions(EngineOptions):
    """Opens ExLlamaV2 if it can serve the model on this machine, else torch; llama.cpp for a GGUF file."""

    kind: ClassVar[str] = AUTO

    runner: Runner = Runner.AUTO  # torch's code of the forward pass
    dtype: Dtype = Dtype.FLOAT32  # torch's number format of the matrices
    cache_type: CacheType = CacheType.FP16  # exllama's number format of the KV cache
    threads: int | None = None  # of the arithmetic on the CPU; None: the command's

    def open(self, directory: Path) -> Opened:
        """Raises UnsupportedError, too, for an option that the engine does not have."""
        if find_gguf(directory) is not None:
            return self._of(OF_GGUF).open(directory)
        why = _refusal(directory)
        if why is None:
            try:
                return self._of(FIRST).open(directory)
            except EngineUnavailableError as error:  # ExLlamaV2's extension could not be built
                why = str(error)
        opened = self._of(ELSE).open(directory)
        return replace(opened, note="; ".join(filter(None, (opened.note, f"not ExLlamaV2, since {why}"))))

    def gpu_memory(self) -> Sequence[int]:
        return options_of(OF_GGUF)().gpu_memory()  # ExLlamaV2 looks itself

    def own_threads(self, model: Path | None) -> int:
        of_gguf = model is not None and find_gguf(model) is not None
        return self.threads or (options_of(OF_GGUF)().own_threads(model) if of_gguf else default_threads())

    def _of(self, kind: str) -> EngineOptions:
        """Returns these options as those of another engine."""
        changed = {name: value for name, value in self.changed.items() if name != "threads"}
        try:
            options = options_of(kind)().taking(changed)
            return options if self.threads is None else options.on_threads(self.threads)
        except ValueError as error:
            raise UnsupportedError(f"{error}: auto has chosen it here") from error


def kinds() -> tuple[str, ...]:
    """Returns every kind that a user may name; imports no engine."""
    return tuple(ENGINES)


def options_of(kind: str) -> type[EngineOptions]:
    """Returns the class of an engine's options. Raises ValueError for an unknown kind."""
    if kind not in kinds():
        raise ValueError(f"engine is {kind!r}, must be one of {', '.join(kinds())}")
    return _imported(ENGINES[kind])


def engine_options(kind: str, values: dict[str, Any]) -> EngineOptions:
    """Returns the options of an engine, with those of `values` that it has. Raises ValueError for an unknown kind."""
    return options_of(kind)().with_values(values)


def open_engine(directory: Path, options: EngineOptions) -> Opened:
    """Load a model, with the cells that fit. Raises EngineError if it cannot be served with these options."""
    return fitted(directory, options).open(directory)


def gpu_memory(model: Path) -> Sequence[int]:
    """Returns how many bytes are free in each GPU that computes a GGUF file; empty: it is none, or none does."""
    return () if find_gguf(model) is None else options_of(OF_GGUF)().gpu_memory()


def check_gguf(model: Path | None, options: EngineOptions, *, pauses: bool = False) -> None:
    """Raises EngineError or GGUFError for a GGUF file that llama.cpp cannot decode; loads nothing of it.

    `pauses`: whether thoughts are to pause, which they cannot where `options` leave the choice of the engine to auto.
    Other models pass, None, the bundled one, among them, and so do those that `options` leave to another engine.
    """
    if model is not None and options.kind in (AUTO, OF_GGUF) and find_gguf(model) is not None:
        engine_options(OF_GGUF, {}).check(model)
        if pauses and options.kind == AUTO:
            raise UnsupportedError(NO_PAUSES)


def chosen(directory: Path) -> str:
    """Returns what `auto` takes: llamacpp for a GGUF file, exllama if ExLlamaV2 can serve it here, else torch."""
    if find_gguf(directory) is not None:
        return OF_GGUF
    return FIRST if _refusal(directory) is None else ELSE


def refusals(model: Path) -> dict[str, str | None]:
    """Returns for every engine why it cannot serve a model on this machine; None: it can. Loads no weights.

    The first is the one that `auto` takes.
    """
    first = chosen(model)
    return {kind: _why_not(kind, model) for kind in (first, *(kind for kind in ENGINES if kind not in (AUTO, first)))}


def _why_not(kind: str, model: Path) -> str | None:
    try:
        engine_options(kind, {}).check(model)
    except LaserError as error:
        return str(error)
    return None


def _refusal(directory: Path) -> str | None:
    """Returns why ExLlamaV2 cannot serve the model on this machine; None: it can."""
    try:
        engine_options(FIRST, {}).check(directory)
    except EngineUnavailableError as error:
        return str(error).partition(": ")[0]  # without the advice, for who has named this engine
    except EngineError as error:
        return str(error)
    return None


def _imported(place: str) -> type[EngineOptions]:
    found = load_named(place)
    if not (isinstance(found, type) and issubclass(found, EngineOptions)):
        raise TypeError(f"{place} is no EngineOptions")
    return found
