"""The faults of a YAML file: how those are gathered that can be told of, so that a user mends them at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from models.errors import faults_of
from models.files.yaml_nodes import ConfigError

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


def bounded(path: Path, faults: Collection[str]) -> ConfigError:
    """Returns the error of a file's faults, each told once."""
    told = tuple(dict.fromkeys(faults))
    more = len(told) - MOST_FAULTS
    return ConfigError(*told[:MOST_FAULTS], *([f"{path}: has {more} faults more"] if more > 0 else []))


def complaints(error: Exception, node: yaml.MappingNode, doubtful: Collection[str]) -> list[Complaint]:
    """Returns what a dataclass, made from the mapping `node`, says in an error.

    Texts that name a field in `doubtful`, of which a fault is told already, are left out: they may hang on it. Behind
    an article the word is no field's name.
    """
    places = {str(name.value): name for name, _ in node.value}
    found = []
    for text in faults_of(error):
        if not any(re.search(rf"(?<!the )(?<!a )\b{re.escape(name)}\b", text) for name in doubtful):
            word = re.match(r"\w*", text)
            name = word[0] if word and word[0] in places else None
            found.append(Complaint(text=text, name=name, node=node if name is None else places[name]))
    return found
