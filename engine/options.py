"""How an engine is opened: each backend's options are a dataclass of its own, listed in `engine.registry`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from engine.base import Engine


def default_threads() -> int:
    """Returns the threads of an engine's arithmetic on the CPU where nobody says how many: of all commands the same.

    Several slow down sharply once another process is busy.
    """
    return 1


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

    cells: int = 65_536  # KV cache, tokens
    max_batch: int = 32  # sequences decoded at once

    def __post_init__(self) -> None:
        for name in ("cells", "max_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")

    @abstractmethod
    def open(self, directory: Path) -> Opened:
        """Load a model. Raises EngineError if it cannot be served with these options."""

    def check(self, directory: Path) -> None:  # noqa: B027 (most engines serve what they can load, anywhere)
        """Raises EngineError if this machine cannot serve the model; loads nothing."""

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Returns these options with those of `values` that they have a field for."""
        known = {field.name for field in fields(self)}
        return replace(self, **{name: value for name, value in values.items() if name in known})

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
