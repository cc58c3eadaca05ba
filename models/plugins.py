"""Loads a class of the house or of a user from the place that a registry or a user names, `module:Name`."""

from __future__ import annotations

import importlib


def is_place(text: str) -> bool:
    """Returns whether `text` has the form module:Name."""
    module, _, name = text.partition(":")
    return bool(module and name) and not module.startswith(".")


def load_named(place: str) -> object:
    """Returns what `place`, of the form module:Name, names.

    Raises ValueError if there is no such module, if the module cannot be imported, or if it has no such name. A caller
    puts what `place` is for before the message.
    """
    module, _, name = place.partition(":")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {module!r}: it must be installed or on PYTHONPATH") from error
        raise ValueError(f"module {module!r} cannot be imported: {error}") from error
    except Exception as error:  # a module may raise whatever its author's code does
        kept = isinstance(error, ImportError | SyntaxError)
        name_of = "" if kept else f"{type(error).__name__}: "
        raise ValueError(f"module {module!r} cannot be imported: {name_of}{error}") from error
    if not hasattr(home, name):
        raise ValueError(f"module {module!r} has no {name!r}")
    found: object = getattr(home, name)
    return found
