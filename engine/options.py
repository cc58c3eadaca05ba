"""How an engine is opened: each backend's options are a dataclass of its own, listed in `engine.registry`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from engine.base import Engine
from engine.fitting.available import GROUPS, OWN, granted_cores

CELLS = 65_536  # of the KV cache where nobody says how many; of a GGUF file, those of them that fit


def default_threads() -> int:
    """Returns the threads of an engine's arithmetic on the CPU where nobody says how many: of all commands the same.

    Several slow down sharply once another process is busy.
    """
    return 1


def spare_cores(cores: int | None = None, groups: Path = GROUPS, own: Path = OWN) -> int:
    """Returns the number of cores that this process may use, without one for all else; at least 1.

    `cores`: None: those of this machine. A container, or another group of processes, uses no more than it may take time
    of: threads beyond would only wait.
    """
    return max(1, int(min(_cores() if cores is None else cores, granted_cores(groups, own))) - 1)


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    doubled = Path("/sys/devices/system/cpu/smt/active")
    two_each = doubled.is_file() and doubled.read_text().strip() == "1"  # two of the processors share one core
    return usable // 2 if two_each else usable


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An engine with its model loaded."""

    kind: str  # never auto
    engine: Engine
    vocabulary: int
    device: str = ""  # what computes, for the log; "": the engine does not say, here and below
    arithmetic: str = ""  # the type in which the model is computed
    runner: str = ""  # who computes the forward pass
    note: str = ""  # why this engine was chosen and no faster one, in words; "": it was named


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions(ABC):
    """What a user may choose for every engine; a backend derives its own options and adds `kind` and fields to it.

    Importing them loads no backend: `open` does.
    """

    kind: ClassVar[str]  # the engine's name in `engine.registry`

    cells: int | None = None  # KV cache, tokens; None: 65,536, of a GGUF file as many of them as fit
    max_batch: int = 32  # sequences decoded at once

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")

    @property
    def cells_taken(self) -> int:
        """The cells of an engine that is opened with these options."""
        return CELLS if self.cells is None else self.cells

    @abstractmethod
    def open(self, directory: Path) -> Opened:
        """Load a model. Raises EngineError if it cannot be served with these options."""

    def check(self, directory: Path) -> None:  # noqa: B027 (most engines serve what they can load, anywhere)
        """Raises EngineError if this machine cannot serve the model; loads nothing."""

    def gpu_memory(self) -> Sequence[int]:
        """Returns how many bytes are free in each GPU with memory of its own on which a model's cells lie; 0: unknown.

        Empty where they lie in main memory, and for engines that look for themselves what there is.
        """
        return ()

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Returns these options with those of `values` that they have a field for."""
        known = {field.name for field in fields(self)}
        return replace(self, **{name: value for name, value in values.items() if name in known})

    def own_threads(self, model: Path | None) -> int:
        """Returns the threads that suit the engine with a model, where nobody says how many; None: the bundled one."""
        return default_threads()

    def on_threads(self, threads: int) -> Self:
        """Returns these options with so many threads, if they have a field for them that is None."""
        return self.with_values({"threads": threads}) if getattr(self, "threads", threads) is None else self

    def taking(self, values: Mapping[str, Any]) -> Self:
        """Returns these options with those values. Raises ValueError for one that they have no field for."""
        known = {field.name for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name} is {value}, but engine is {self.kind}, which has none")
        return self.with_values(values)

    @property
    def changed(self) -> dict[str, Any]:
        """The values that are not the class's defaults, by field."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}
