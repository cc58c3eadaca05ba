"""Types, defaults and units of settings and fields as the reference shows them."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from models.comments import described, summary, told
from models.files.strict_yaml import Kinds

WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
SUFFIXES = {"_s": "s", "_ms": "ms", "_seconds": "s", "_tokens": "tokens", "_bytes": "bytes", "_steps": "decode steps"}
# as descriptions write them: at their beginning, behind a symbol, or behind a comma
UNITS = (
    "requests/s", "tokens/s", "confidence/s", "1/√s", "correct answers per request", "correct answers",
    "decode steps", "token rows", "thinking tokens", "tokens", "bytes", "s",
)  # fmt: skip
TOLD = re.compile(rf"(?:^|^\S+: |, )({'|'.join(map(re.escape, UNITS))})(?=[,; ]|$)")


def kinds_in(hint: Any) -> Kinds | None:
    """Returns the registry that a field's type names, if it names one."""
    return next((each for each in typing.get_args(hint)[1:] if isinstance(each, Kinds)), None)


def options(hint: Any) -> list[Any]:
    """Returns the types of which a value may be, None among them."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [inner for each in typing.get_args(hint) for inner in options(each)]
    if isinstance(hint, typing.NewType):
        return options(hint.__supertype__)
    if typing.get_origin(hint) is typing.Annotated and kinds_in(hint) is None:
        return options(typing.get_args(hint)[0])
    return [hint]


def value(hint: Any) -> str:
    """Returns what a field of this type may hold, in words."""
    either = options(hint)
    kinds = [one.kind for one in either if dataclasses.is_dataclass(one) and hasattr(one, "kind")]
    if len(kinds) > 1:
        return f"mapping whose `kind` is {coded(kinds)}"
    return " or ".join(dict.fromkeys(map(_word, either)))


def _word(hint: Any) -> str:
    kinds, origin, arguments = kinds_in(hint), typing.get_origin(hint), typing.get_args(hint)
    if kinds is not None:
        return f"{coded([*kinds.names, *(['module:Name'] if kinds.own else [])])}, or a mapping of `kind` and settings"
    if origin is typing.Literal:
        return coded(map(str, arguments))
    if hint is type(None):
        return "null"
    if origin is not None and isinstance(origin, type) and issubclass(origin, typing.Mapping):
        return f"mapping of names to {value(arguments[1])}"
    if origin in (tuple, list):
        inner = value(arguments[0])
        return f"list of ({inner})" if " or " in inner else f"list of {inner}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return coded(str(member.value) for member in hint)
    return WORDS.get(hint, "mapping" if dataclasses.is_dataclass(hint) else "any value")


def coded(words: Iterable[str]) -> str:
    """Returns words as a list of code."""
    return ", ".join(f"`{word}`" for word in words)


def default(field: dataclasses.Field[Any]) -> str:
    """Returns a field's default as YAML spells it."""
    if field.default is not dataclasses.MISSING:
        return literal(field.default)
    return "required" if field.default_factory is dataclasses.MISSING else literal(field.default_factory())


def literal(found: Any) -> str:
    """Returns a value as YAML and JSON spell it; of a mapping, its kind."""
    if isinstance(found, Enum):
        return f"`{found.value}`"
    if dataclasses.is_dataclass(found):
        return f"`{found.kind}`" if hasattr(found, "kind") else ""
    if isinstance(found, tuple):
        found = list(found)
    return f"`{json.dumps(found, ensure_ascii=False, default=str)}`"


def unit(name: str, text: str, hint: Any) -> str:
    """Returns the unit of a number: that of its name, else the first that its description names; empty: it has none."""
    if not {int, float} & set(options(hint)):
        return ""
    said = next((unit for suffix, unit in SUFFIXES.items() if name.endswith(suffix)), "")
    found = TOLD.search(text)
    return said or (found[1] if found else "")


def means(owner: type, field: str, hint: Any) -> str:
    """Returns a field's description: its own, else that of the one class that it holds."""
    own = described(owner).get(field)
    if own:
        return own
    if typing.get_origin(hint) is typing.Literal and len(typing.get_args(hint)) == 1:
        return "always the same"
    classes = [one for one in options(hint) if isinstance(one, type) and one.__module__.split(".")[0] != "builtins"]
    return summary(classes[0]) if len(classes) == 1 and classes[0] is not Path else ""


def members(kind: type[Enum]) -> list[tuple[str, str]]:
    """Returns an enumeration's values with their descriptions."""
    texts = described(kind)
    return [(str(member.value), told(texts.get(name, ""))) for name, member in kind.__members__.items()]
