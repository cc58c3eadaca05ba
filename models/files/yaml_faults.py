"""The faults of a YAML file: how those are gathered that can be told of, so that a user mends them at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from models.errors import faults_of
from models.files.yaml_nodes import ConfigError, compose_file, place

MOST_FAULTS = 20  # of a file that are told; the others are counted


class Partly(ConfigError):
    """Some entries of a list cannot be built; `rest` are those that can."""

    def __init__(self, faults: Iterable[str], rest: tuple[Any, ...]) -> None:
        super().__init__(*faults)
        self.rest = rest


@dataclass(slots=True)
class FoundFields:
    """What is found of a dataclass while its mapping is read."""

    values: dict[str, Any] = field(default_factory=dict)  # by field
    given: set[str] = field(default_factory=set)  # fields that the mapping gives
    faults: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)  # names that a fault is told of
    meant: set[str] = field(default_factory=set)  # fields that misspelled keys are like: not missing
    listed: bool = False  # whether a fault lists the known keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What a dataclass says of its values."""

    text: str
    name: str | None  # the key that the text begins with; None: it begins with no key that the file gives
    node: yaml.Node  # that key, or the whole mapping


def bounded(path: Path, faults: Collection[str], most: int = MOST_FAULTS) -> ConfigError:
    """Returns the error of a file's faults, each told once, and at most `most` of them."""
    told = tuple(dict.fromkeys(faults))
    more = len(told) - most
    return ConfigError(*told[:most], *([f"{path}: has {more} faults more"] if more > 0 else []))


def complaints(error: Exception, node: yaml.MappingNode, doubtful: Collection[str]) -> list[Complaint]:
    """Returns what a dataclass, made from the mapping `node`, says in an error.

    Texts that name a field in `doubtful`, of which a fault is told already, are left out: they may hang on it. Behind
    an article the word is no field's name.
    """
    found = []
    for text in faults_of(error):
        if not any(re.search(rf"(?<!the )(?<!a )\b{re.escape(name)}\b", text) for name in doubtful):
            name, told = told_of(text, node)
            found.append(Complaint(text=text, name=name, node=told))
    return found


def told_of(text: str, node: yaml.MappingNode) -> tuple[str | None, yaml.Node]:
    """Returns the key that a fault of a mapping begins with, None if it has no such key, and where that stands.

    A fault may also begin with an entry of a list by the list's singular and the entry's name: `policy 'mine'` is the
    entry of `policies` that has the name mine. Then the key is None: what else the list has may be right.
    """
    places = {str(name.value): name for name, _ in node.value}
    word = re.match(r"\w*", text)
    if word and word[0] in places:
        return word[0], places[word[0]]
    entry = re.match(r"(\w+) '([^']*)'", text)
    if entry:
        lists = {f"{entry[1]}s", f"{entry[1].removesuffix('y')}ies"}
        for name, value in node.value:
            if name.value in lists and isinstance(value, yaml.SequenceNode):
                named = [each for each in value.value if _name_of(each) == entry[2]]
                return None, named[0] if named else name
    return None, node


def _name_of(node: yaml.Node) -> str | None:
    """Returns the value of a mapping's key `name`; None: there is none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((str(value.value) for name, value in pairs if name.value == "name"), None)


def placed(path: Path, faults: Iterable[str]) -> ConfigError:
    """Returns the error of faults that were found after the file was read, each with its place in the file."""
    root = compose_file(path)
    assert isinstance(root, yaml.MappingNode), "the file was read"
    nodes = [(text, told_of(text, root)[1]) for text in dict.fromkeys(faults)]
    return ConfigError(*(f"{path}{place(node.start_mark) if node is not root else ''}: {text}" for text, node in nodes))
