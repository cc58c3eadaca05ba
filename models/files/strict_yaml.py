"""One strict reader of YAML files: every key must be known, every value of its declared type.

Config lives beside the class it configures: `read(path, SomeDataclass)` builds that frozen dataclass, nested ones
included. Where a union of dataclasses is declared, the key `kind` picks one by its class attribute of that name; where
a type is annotated with `Kinds`, `kind` picks one from a registry that stays open; with `ByName`, a name stands for a
file. A dataclass may have a shorter form: `SHORT` maps "int", "str" or "seq" to the field that such a value stands for.

Whatever is unexpected is one fault with file, line, column, key and the expected value; a ConfigError tells all faults
of the file at once. `written` is the way back. How numbers are spelled, and what is no YAML at all:
`models/files/yaml_nodes.py`.
"""

from __future__ import annotations

import dataclasses
import logging
import types
import typing
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.files.nearest import meant
from models.files.recognised import mistaken
from models.files.yaml_faults import FoundFields, Partly, bounded, complaints
from models.files.yaml_nodes import SHOWN, compose_file, compose_text, dumped, place, plain_value, shown, spelled_out
from models.files.yaml_nodes import ConfigError as ConfigError

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_VALUES = 200_000  # that a file may stand for


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kinds:
    """An annotation that makes a field accept dataclasses of a registry: a kind's name, or a mapping with its `kind`.

    Keys in `flat` may stand beside the field instead of in its mapping; they are read as if they stood in it, unless
    they are null, and are deprecated.
    """

    field: str  # the name of the field, where `flat` is not empty
    names: Collection[str]  # the registry's kinds
    find: Callable[[str], type]  # returns a kind's dataclass; raises ValueError
    kind_of: Callable[[Any], str] = lambda value: value.kind
    own: bool = True  # whether a user's own class is accepted, as module:Name
    refused: dict[str, str] = dataclasses.field(default_factory=dict)  # kinds that others may be, not this field: why
    flat: tuple[str, ...] = ()
    default: str = ""  # the kind, where only keys of `flat` are given

    def may_be(self, kind: str) -> bool:
        """Whether `kind` is in the registry, or may name a user's own class."""
        return kind in self.names or (self.own and ":" in kind)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByName:
    """An annotation that makes a field of type Path accept names of files, too."""

    find: Callable[[str, Path], Path]  # the file for a text in a file of the folder given; raises ConfigError


def read(
    path: Path,
    into: type[T],
    tell: Callable[[str], None] = log.warning,
    *,
    secret: bool = False,
    text: str | None = None,
) -> T:
    """Returns a dataclass `into` filled from the YAML file at `path`; keys left out keep the class's defaults.

    `text`: the YAML that the file carries; None: the file is YAML as a whole.

    Calls `tell` with one line if the file uses keys that will go, and if it holds nothing, so that all is at its
    default. `secret`: no error shows anything that the file holds, because any of it may be a secret in the wrong
    place.
    """
    reader = _Reader(path, secret=secret)
    try:
        root = compose_file(path, secret=secret, text=text)
        built = typing.cast(T, reader.build(into, root, key=""))
    except ConfigError as error:
        if text is not None:
            raise
        raise (mistaken(path, into, error.args) or bounded(path, error.args)) from error
    if not root.value:
        tell(f"{path}: holds no settings: all are at their defaults")
    for field, names in reader.flat.items():
        keys = ", ".join(f"`{name}`" for name in names)
        tell(f"{path}: {keys} beside `{field}` will go: write `{field}: {{kind: …, {next(iter(names))}: …}}`")
    return built


def given_keys(path: Path, under: str | None = None) -> frozenset[str]:
    """Returns the keys that a YAML file gives a value but null: at the top, or in the mapping of its key `under`."""
    node: yaml.Node | None = compose_file(path)
    if under is not None and isinstance(node, yaml.MappingNode):
        node = next((value for name, value in node.value if name.value == under), None)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return frozenset(str(name.value) for name, value in pairs if not value.tag.endswith(":null"))


def written(value: Any) -> str:
    """Returns a configuration dataclass as the YAML that `read` reads back; fields at their defaults are left out."""
    return dumped(_plain(value))


def _plain(value: Any, kinds: Kinds | None = None) -> Any:
    """Returns a value of a configuration in YAML's own types; paths become absolute. `kinds`: of the value's field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value), include_extras=True)
        given = {
            field.name: _plain(getattr(value, field.name), _kinds(hints[field.name]))
            for field in dataclasses.fields(value)
            if _differs(value, field)
        }
        kind = kinds.kind_of(value) if kinds is not None else getattr(value, "kind", None)
        return given if kind is None else {"kind": kind, **given}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value.absolute())
    return value.value if isinstance(value, Enum) else value


def _differs(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Returns whether a field of a dataclass is required or has another value than its default."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return bool(getattr(value, field.name) != default)


def parse(text: str, into: Any, *, key: str) -> Any:
    """Returns the value of type `into` that `text` stands for in a YAML file. Raises ConfigError, which names `key`."""
    node = compose_text(text, lambda why, _: ConfigError(f"`{key}` is {text[:SHOWN]!r}, which is not YAML: {why}"))
    return _Reader(None).build(into, node or yaml.ScalarNode("tag:yaml.org,2002:null", ""), key=key)


class _Reader:
    def __init__(self, path: Path | None, *, secret: bool = False) -> None:
        """`path` None: the text is in no file. `secret`: errors show nothing of the text."""
        self._path = path
        self._secret = secret
        self._values = 0  # that have been built
        self.flat: dict[str, dict[str, None]] = {}  # the deprecated keys that were read, by their field

    def fail(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(message if self._path is None else f"{self._path}{place(node.start_mark)}: {message}")

    def _shown(self, node: yaml.Node) -> str:
        return "a value that is not shown" if self._secret and isinstance(node, yaml.ScalarNode) else shown(node)

    def _meant(self, node: yaml.Node, known: Iterable[str]) -> str:
        """Returns which known word the node was meant to be; empty: none, or the file is secret."""
        return "" if self._secret or not isinstance(node, yaml.ScalarNode) else meant(str(node.value), known)

    def build(self, kind: Any, node: yaml.Node, *, key: str) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:  # aliases of aliases
            raise self.fail(node, f"`{key}`: the file stands for more than {MOST_VALUES} values, must be at most that")
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            if node.tag.endswith(":null") and type(None) in arguments:
                return None
            inner = [option for option in arguments if option is not type(None)]
            if str in inner and isinstance(node, yaml.ScalarNode):
                return self._scalar(str, node, key)
            inner = [option for option in inner if option is not str] or inner
            if len(inner) > 1:
                return self._one_of({option.kind: option for option in inner}, node, key)
            return self.build(inner[0], node, key=key)
        if origin is typing.Annotated:
            named = next((each for each in arguments[1:] if isinstance(each, ByName)), None)
            if named is not None:
                return self._named(named, node, key)
            kinds = _kinds(kind)
            return self.build(arguments[0], node, key=key) if kinds is None else self._of_kind(kinds, node, key)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._dataclass(kind, node, key)
        if origin is tuple:
            return self._tuple(arguments[0], node, key)
        return self._scalar(kind, node, key)

    def _go_on(self, error: ConfigError) -> None:
        """Raises the error if the file stands for too many values to look for other faults."""
        if self._values > MOST_VALUES:
            raise error

    def _tuple(self, kind: Any, node: yaml.Node, key: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"`{key}` must be a list")
        built: list[Any] = []
        faults: list[str] = []
        for i, item in enumerate(node.value):
            try:
                built.append(self.build(kind, item, key=f"{key}[{i}]"))
            except ConfigError as error:
                self._go_on(error)
                faults += error.args
        if faults:
            raise Partly(faults, tuple(built))
        return tuple(built)

    def _one_of(self, kinds: dict[str, type], node: yaml.Node, key: str) -> Any:
        """Builds the dataclass that the mapping's key `kind` names from the mapping's other keys."""
        said, rest = self._split(node, key, kinds)
        if not isinstance(said, yaml.ScalarNode) or said.value not in kinds:
            told = f"`{_join(key, 'kind')}` is {self._shown(said)}, must be one of {', '.join(kinds)}"
            raise self.fail(said, told + self._meant(said, kinds))
        return self._dataclass(kinds[said.value], rest, key)

    def _of_kind(self, kinds: Kinds, node: yaml.Node, key: str) -> Any:
        """Builds the registry's dataclass that the node, or its key `kind`, names."""
        if isinstance(node, yaml.ScalarNode):
            said: yaml.Node = node
            rest, where = yaml.MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark), key
        else:
            (said, rest), where = self._split(node, key, kinds.names), _join(key, "kind")
        if not isinstance(said, yaml.ScalarNode) or not kinds.may_be(said.value):
            known = ", ".join(kinds.names) + (", or module:Name" if kinds.own else "")
            why = kinds.refused.get(str(said.value), "") if isinstance(said, yaml.ScalarNode) else ""
            told = f"`{where}` is {self._shown(said)}{why and f', {why}'}, must be one of {known}"
            raise self.fail(said, told + self._meant(said, kinds.names))
        return self._dataclass(self._found(kinds, said, where), rest, key)

    def _found(self, kinds: Kinds, said: yaml.ScalarNode, where: str) -> type:
        try:
            return kinds.find(said.value)
        except ValueError as error:
            raise self.fail(said, f"`{where}`: {error}") from error

    def _split(self, node: yaml.Node, key: str, kinds: Collection[str]) -> tuple[yaml.Node, yaml.MappingNode]:
        """Returns the value of the mapping's key `kind`, and the mapping without it."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"`{key or 'the file'}` must be a mapping of keys to values")
        pairs = [pair for pair in node.value if pair[0].value == "kind"]
        if not pairs:
            raise self.fail(node, f"`{_join(key, 'kind')}` is missing, must be one of {', '.join(kinds)}")
        if len(pairs) > 1:
            raise self.fail(pairs[1][0], f"`{_join(key, 'kind')}` is given twice")
        others = [pair for pair in node.value if pair is not pairs[0]]
        return pairs[0][1], yaml.MappingNode(node.tag, others, node.start_mark, node.end_mark)

    def _folded(self, kinds: Kinds, node: yaml.MappingNode, key: str) -> yaml.MappingNode:
        """Returns the mapping with the keys of `kinds.flat` moved into the mapping of the field."""
        flat = [pair for pair in node.value if pair[0].value in kinds.flat]
        if not flat:
            return node
        self.flat.setdefault(kinds.field, {}).update(dict.fromkeys(pair[0].value for pair in flat))
        own = next((pair for pair in node.value if pair[0].value == kinds.field), None)
        place = flat[0][0] if own is None else own[0]
        value = yaml.ScalarNode("tag:yaml.org,2002:str", kinds.default) if own is None else own[1]
        if isinstance(value, yaml.ScalarNode):
            name = yaml.ScalarNode("tag:yaml.org,2002:str", "kind", place.start_mark, place.end_mark)
            value = yaml.MappingNode("tag:yaml.org,2002:map", [(name, value)], place.start_mark, place.end_mark)
        if not isinstance(value, yaml.MappingNode):
            raise self.fail(value, f"`{_join(key, kinds.field)}` must be a kind or a mapping of keys to values")
        moved = [pair for pair in flat if not pair[1].tag.endswith(":null")]
        inside = {pair[0].value for pair in value.value}
        said = next((pair[1] for pair in value.value if pair[0].value == "kind"), None)
        for name_node, setting in moved:
            name = name_node.value
            if name in inside:
                told = f"`{_join(key, name)}` and `{_join(_join(key, kinds.field), name)}` are given"
                raise self.fail(name_node, f"{told}, must be one of them")
            if isinstance(said, yaml.ScalarNode) and kinds.may_be(said.value):
                found: Any = self._found(kinds, said, _join(key, kinds.field))
                if name not in {field.name for field in dataclasses.fields(found)}:
                    told = f"{name} is {setting.value}, but {kinds.field} is {said.value}, which has none"
                    raise self.fail(name_node, f"`{key}`: {told}" if key else told)
        value = yaml.MappingNode(value.tag, [*value.value, *moved], value.start_mark, value.end_mark)
        others = [pair for pair in node.value if pair not in flat and pair is not own]
        field = yaml.ScalarNode("tag:yaml.org,2002:str", kinds.field, place.start_mark, place.end_mark)
        return yaml.MappingNode(node.tag, [*others, (field, value)], node.start_mark, node.end_mark)

    def _dataclass(self, kind: type, node: yaml.Node, key: str) -> Any:
        node = spelled_out(node, getattr(kind, "SHORT", {}))
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"`{key or 'the file'}` must be a mapping of keys to values")
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        hints = typing.get_type_hints(kind, include_extras=True)
        known = list(fields)
        for name in fields:
            if (kinds := _kinds(hints[name])) is not None and kinds.flat:
                node = self._folded(kinds, node, key)
                known += kinds.flat
        found = FoundFields()
        for name_node, value_node in node.value:
            name = str(name_node.value)
            try:
                if name not in fields:
                    raise self._unknown(name_node, key, known, fields, found)
                if name in found.given:
                    raise self.fail(name_node, f"`{_join(key, name)}` is given twice")
                found.given.add(name)
                found.values[name] = self.build(hints[name], value_node, key=_join(key, name))
            except ConfigError as error:
                self._go_on(error)
                found.faults += error.args
                found.doubtful.add(name)
                if isinstance(error, Partly):
                    found.values[name] = error.rest
        return self._made(kind, {name for name, field in fields.items() if _is_required(field)}, node, key, found)

    def _unknown(
        self, name: yaml.Node, key: str, known: Collection[str], fields: Collection[str], found: FoundFields
    ) -> ConfigError:
        """Returns the fault of a key that no field has; the known ones are listed for the first such key alone."""
        close = meant(name.value, known)
        found.meant |= {each for each in fields if f"`{each}`" in close}
        hint = close or ("" if found.listed else f"; known keys: {', '.join(fields)}")
        found.listed = found.listed or not close
        said = f"in `{key or 'the file'}`, not shown" if self._secret else f"`{_join(key, name.value[:SHOWN])}`"
        return self.fail(name, f"unknown key {said}{hint}")

    def _made(self, kind: type, required: set[str], node: yaml.MappingNode, key: str, found: FoundFields) -> Any:
        """Makes the dataclass of the values found, to hear its own complaints too; raises all faults if there are any.

        A value that the dataclass complains of is left out, so that it may tell what else is wrong.
        """
        names = [field.name for field in dataclasses.fields(kind)]
        missing = sorted(required - found.given - found.meant, key=names.index)
        found.faults += [str(self.fail(node, f"`{_join(key, name)}` is missing")) for name in missing]
        found.doubtful |= found.meant - found.given
        while required <= found.values.keys():
            try:
                built = kind(**found.values)
            except (ValueError, ArithmeticError) as error:
                wrong = complaints(error, node, found.doubtful)
                found.faults += [str(self.fail(one.node, f"`{key}`: {one.text}" if key else one.text)) for one in wrong]
                named = {one.name for one in wrong if one.name is not None}
                if not named:
                    break
                found.doubtful |= named
                found.values = {name: value for name, value in found.values.items() if name not in named}
            else:
                if found.faults:
                    break
                return built
        raise ConfigError(*found.faults)

    def _scalar(self, kind: Any, node: yaml.Node, key: str) -> Any:
        value = self._plain(node, key) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(kind, type) and issubclass(kind, Enum):
            try:
                return kind(value)
            except ValueError:
                allowed = ", ".join(str(member.value) for member in kind)
                told = f"`{key}` is {self._shown(node)}, must be one of {allowed}"
                raise self.fail(node, told + self._meant(node, (str(each.value) for each in kind))) from None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = self._float(value, node, key)
        if kind is Path and isinstance(value, str):
            return Path(value) if self._path is None else self._path.parent / value
        if type(value) is not kind:
            name = getattr(kind, "__name__", str(kind))
            raise self.fail(node, f"`{key}` is {self._shown(node)}, must be of type {name}")
        return value

    def _named(self, named: ByName, node: yaml.Node, key: str) -> Path:
        """Returns the file that the text of `node` names, or leads to."""
        said = self._scalar(str, node, key)
        try:
            return named.find(said, Path() if self._path is None else self._path.parent)
        except ConfigError as error:
            raise self.fail(node, f"`{key}`: {error}") from error

    def _float(self, value: int, node: yaml.Node, key: str) -> float:
        try:
            return float(value)
        except OverflowError:
            raise self.fail(node, f"`{key}` is {self._shown(node)}, which is too large a number") from None

    def _plain(self, node: yaml.ScalarNode, key: str) -> Any:
        try:
            return plain_value(node)
        except ValueError as error:  # 2024-13-45 looks like a date; !secret is no known tag
            raise self.fail(node, f"`{key}` is {self._shown(node)}, {error}") from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _kinds(hint: Any) -> Kinds | None:
    """Returns the Kinds that a type is annotated with; None: with none."""
    return next((each for each in typing.get_args(hint)[1:] if isinstance(each, Kinds)), None)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
