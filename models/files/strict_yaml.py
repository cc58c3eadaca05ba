"""One strict reader of YAML files: every key must be known, every value of its declared type.

Config lives beside the class it configures: `read(path, SomeDataclass)` builds that frozen dataclass, nested ones
included. Where a union of dataclasses is declared, the key `kind` picks one by its class attribute of that name; where
`Annotated[Base, ByKind(kinds)]` is declared, it picks one of `kinds()`, and a plain word is that kind at its defaults.
Anything unexpected raises ConfigError with file, line, key and the expected value. `written` is
the way back.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from models.errors import LaserError

T = TypeVar("T")


class ConfigError(LaserError, ValueError):
    """A configuration file that cannot be used; the message names file, line and key."""


@dataclasses.dataclass(frozen=True, slots=True)
class ByKind:
    """Annotates a field whose dataclass is one of `kinds()`, by kind."""

    kinds: Callable[[], Mapping[str, type]]


def read(path: Path, into: type[T]) -> T:
    """Returns a dataclass `into` filled from the YAML file at `path`; keys left out keep the class's defaults."""
    return typing.cast(T, _Reader(path).build(into, _composed(path), key=""))


def given_keys(path: Path, under: str | None = None) -> frozenset[str]:
    """Returns the keys that a YAML file gives a value but null: at the top, or in the mapping of its key `under`."""
    node: yaml.Node | None = _composed(path)
    if under is not None and isinstance(node, yaml.MappingNode):
        node = next((value for name, value in node.value if name.value == under), None)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return frozenset(str(name.value) for name, value in pairs if not value.tag.endswith(":null"))


def _composed(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: is not YAML: {getattr(error, 'problem', error)}") from error
    return root if root is not None else yaml.MappingNode("tag:yaml.org,2002:map", [], None, None)


def written(value: Any) -> str:
    """Returns a configuration dataclass as the YAML that `read` reads back; fields at their defaults are left out."""
    return yaml.safe_dump(_plain(value), allow_unicode=True, sort_keys=False)


def _plain(value: Any) -> Any:
    """Returns a value of a configuration in YAML's own types; paths become absolute."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        given = {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value) if _differs(value, field)
        }
        return kind | {name: _plain(each) for name, each in given.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value.absolute())
    return value.value if isinstance(value, Enum) else value


def _differs(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Returns whether a field of a dataclass is required or has another value than its default."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return bool(getattr(value, field.name) != default)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def fail(self, node: yaml.Node, message: str) -> ConfigError:
        line = f":{node.start_mark.line + 1}" if node.start_mark else ""
        return ConfigError(f"{self._path}{line}: {message}")

    def build(self, kind: Any, node: yaml.Node, *, key: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Annotated and isinstance(arguments[1], ByKind):
            return self._one_of(dict(arguments[1].kinds()), node, key, word=True)
        if origin in (types.UnionType, typing.Union):
            if node.tag.endswith(":null") and type(None) in arguments:
                return None
            inner = [option for option in arguments if option is not type(None)]
            if len(inner) > 1:
                return self._one_of({option.kind: option for option in inner}, node, key)
            return self.build(inner[0], node, key=key)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._dataclass(kind, node, key)
        if origin is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise self.fail(node, f"`{key}` must be a list")
            return tuple(self.build(arguments[0], item, key=f"{key}[{i}]") for i, item in enumerate(node.value))
        return self._scalar(kind, node, key)

    def _one_of(self, kinds: dict[str, type], node: yaml.Node, key: str, *, word: bool = False) -> Any:
        """Builds the dataclass that the mapping's key `kind` names from the mapping's other keys.

        `word`: a plain word is allowed, too, and names a kind at its defaults.
        """
        if word and isinstance(node, yaml.ScalarNode):
            if node.value not in kinds:
                raise self.fail(node, f"`{key}` is {_shown(node)}, must be one of {', '.join(kinds)}")
            return self._dataclass(kinds[node.value], yaml.MappingNode(node.tag, [], node.start_mark), key)
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"`{key or 'the file'}` must be a mapping of keys to values")
        pairs = [pair for pair in node.value if pair[0].value == "kind"]
        if not pairs:
            raise self.fail(node, f"`{_join(key, 'kind')}` is missing, must be one of {', '.join(kinds)}")
        said = pairs[0][1]
        if len(pairs) > 1:
            raise self.fail(pairs[1][0], f"`{_join(key, 'kind')}` is given twice")
        if not isinstance(said, yaml.ScalarNode) or said.value not in kinds:
            raise self.fail(said, f"`{_join(key, 'kind')}` is {_shown(said)}, must be one of {', '.join(kinds)}")
        others = [pair for pair in node.value if pair is not pairs[0]]
        rest = yaml.MappingNode(node.tag, others, node.start_mark, node.end_mark)
        return self._dataclass(kinds[said.value], rest, key)

    def _dataclass(self, kind: type, node: yaml.Node, key: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"`{key or 'the file'}` must be a mapping of keys to values")
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        hints = typing.get_type_hints(kind, include_extras=True)
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value)
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(fields)}"
                raise self.fail(name_node, f"unknown key `{_join(key, name)}`{hint}")
            if name in values:
                raise self.fail(name_node, f"`{_join(key, name)}` is given twice")
            values[name] = self.build(hints[name], value_node, key=_join(key, name))
        for name, field in fields.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in values:
                raise self.fail(node, f"`{_join(key, name)}` is missing")
        try:
            return kind(**values)
        except ValueError as error:
            raise self.fail(node, f"`{key}`: {error}" if key else str(error)) from error

    def _scalar(self, kind: Any, node: yaml.Node, key: str) -> Any:
        value = self._plain(node, key) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(kind, type) and issubclass(kind, Enum):
            try:
                return kind(value)
            except ValueError:
                allowed = ", ".join(str(member.value) for member in kind)
                raise self.fail(node, f"`{key}` is {value!r}, must be one of {allowed}") from None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is Path and isinstance(value, str):
            return self._path.parent / value
        if type(value) is not kind:
            name = getattr(kind, "__name__", str(kind))
            raise self.fail(node, f"`{key}` is {_shown(node)}, must be of type {name}")
        return value

    def _plain(self, node: yaml.ScalarNode, key: str) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (ValueError, yaml.YAMLError) as error:  # 2024-13-45 looks like a date; !secret is no known tag
            raise self.fail(node, f"`{key}` is {node.value!r}, which is no valid {node.tag}") from error


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a sequence"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
