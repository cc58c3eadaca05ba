"""Settings as chapters: every field of a dataclass that a YAML or JSON file fills, and of those inside it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from laser.handbook import Chapter, Entry
from laser.reference.bounds import bounds
from laser.reference.shown import default, kinds_in, means, members, options, unit, value
from models.comments import summary


class SettingsPage:
    """Collects the chapters of one page. A class is told once; what other pages tell is linked there."""

    def __init__(self, elsewhere: Mapping[Any, str]) -> None:
        """`elsewhere`: the pages of other classes and of registries, by class and by the name of a registry's field."""
        self._elsewhere = elsewhere
        self._told: set[Any] = set()
        self.chapters: list[Chapter] = []

    def add(self, kind: type, title: str, path: str = "", text: str | None = None, *, defaults: bool = True) -> None:
        """Adds the chapters of a dataclass and of what its fields hold; `path`: the key under which it stands."""
        self._told.add(kind)
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [field for field in dataclasses.fields(kind) if field.init and not field.name.startswith("_")]
        limits = bounds(kind) if defaults else {}
        entries = []
        for field in fields:
            said = means(kind, field.name, hints[field.name])
            more = {"value": value(hints[field.name]) + (f", {limits[field.name]}" if field.name in limits else "")}
            more["unit"] = unit(field.name, said, hints[field.name])
            if defaults:
                more["default"] = default(field)
            entries.append(Entry(name=_join(path, field.name), means=said + self._link(hints[field.name]), more=more))
        self.chapters.append(Chapter(title=title, text=summary(kind) if text is None else text, entries=tuple(entries)))
        for field in fields:
            self._inside(hints[field.name], _join(path, field.name), defaults=defaults)

    def kinds(self, found: Mapping[str, type], path: str) -> None:
        """Adds the chapters of classes that a key `kind` names."""
        for kind, owner in found.items():
            self.add(owner, f"`{path}`: kind `{kind}`" if path else f"Kind `{kind}`", path)

    def _inside(self, hint: Any, path: str, *, defaults: bool) -> None:
        kinds = kinds_in(hint)
        if kinds is not None and self._place(kinds) is None and kinds.field not in self._told:
            self._told.add(kinds.field)
            self.kinds({name: kinds.find(name) for name in kinds.names}, path)
        if kinds is not None:
            return
        inner = options(hint)
        many = [one for one in inner if dataclasses.is_dataclass(one)]
        for one in inner:
            if typing.get_origin(one) in (tuple, list) and typing.get_args(one):
                self._inside(typing.get_args(one)[0], f"{path}[]", defaults=defaults)
            elif one in self._told or self._place(one) is not None or not isinstance(one, type):
                continue
            elif dataclasses.is_dataclass(one):
                title = f"`{path}`: kind `{one.kind}`" if len(many) > 1 and hasattr(one, "kind") else f"`{path}`"
                self.add(one, title, path, defaults=defaults)
            elif issubclass(one, Enum):
                self._told.add(one)
                self.chapters.append(values(one, f"Values of `{path}`"))

    def _link(self, hint: Any) -> str:
        """Returns where a field's own settings are told, if on another page."""
        kinds = kinds_in(hint)
        for one in [kinds] if kinds is not None else options(hint):
            inner = typing.get_args(one)[0] if typing.get_origin(one) is tuple else one
            place = self._place(inner)
            if place is not None:
                return f"; [{place}]({place}.md) has its settings"
        return ""

    def _place(self, one: Any) -> str | None:
        key = one.field if hasattr(one, "field") and hasattr(one, "find") else one
        try:
            return self._elsewhere.get(key)
        except TypeError:  # a type that cannot be a key
            return None


def values(kind: type[Enum], title: str, text: str | None = None) -> Chapter:
    """Returns an enumeration's values as a chapter."""
    entries = tuple(Entry(name=name, means=said) for name, said in members(kind))
    return Chapter(title=title, text=summary(kind) if text is None else text, entries=entries)


def registry(found: Mapping[str, type], title: str, text: str) -> Chapter:
    """Returns the classes of a registry as a chapter: each name with the first sentence of its class."""
    entries = tuple(Entry(name=name, means=summary(owner)) for name, owner in found.items())
    return Chapter(title=title, text=text, entries=entries)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
