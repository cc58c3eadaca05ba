"""How many rows an engine that decodes has had its model compute, counted where they are handed to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Counted:
    """Passes everything on to `inner`, and adds up what `size` says of each call of its method `name`."""

    def __init__(self, inner: Any, name: str, size: Callable[[Any], int]) -> None:
        self.rows = 0
        self._inner = inner
        self._name = name
        self._size = size

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._name:
            return found

        def counted(first: Any, *rest: Any) -> Any:
            self.rows += self._size(first)
            return found(first, *rest)

        return counted


def counting(engine: Any) -> Callable[[], int]:
    """Returns a function that says how many rows the engine has computed since."""
    match engine.capabilities.engine:
        case "torch":
            counted = engine._model = Counted(engine._model, "forward", lambda batch: len(batch.tokens))
        case "llamacpp":
            counted = engine._context = Counted(engine._context, "decode", len)
        case "exllama":
            passes = engine._loaded.model.passes
            return lambda: sum(batch * length for batch, length in passes)
        case other:
            raise ValueError(f"the {other} engine computes no rows")
    return lambda: counted.rows
