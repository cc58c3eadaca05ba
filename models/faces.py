"""A package's face: the few names that a program needs of it, each imported when it is first asked for.

A package's `__init__` states its face with `lazy(__name__, {name: module})`. So `from controller import Limits` works,
while importing a module of the package imports nothing else of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Returns a package's `__getattr__` and `__all__`; `modules` has the module of each name."""

    def attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return attribute, sorted(modules)
