"""What a settings file seems to be, told by its keys: one of another kind than was asked for is named as such."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from models.files.nearest import nearest
from models.files.text import decode_json
from models.files.yaml_faults import bounded
from models.files.yaml_nodes import ConfigError, compose_file

FILES: Mapping[str, frozenset[str]] = {
    "an experiment": frozenset({"workloads", "policies", "seeds", "duration_s", "backend", "slo_s"}),
    "settings of `laser serve`": frozenset({"host", "port", "policy", "controller", "keys", "public", "log_format"}),
    "settings of the controller": frozenset({"inner_s", "outer_s", "change", "objective", "estimator", "rows"}),
    "API keys": frozenset({"keys"}),
    "a workload": frozenset({"kind", "rate", "cv", "burst", "calm_s", "burst_s", "factor", "at_s", "peak", "path"}),
    "a thinking format": frozenset({"open", "close", "landing", "probe", "transitions", "opening", "conclusions"}),
    "questions, JSON Lines": frozenset({"question", "answer", "benchmark", "split"}),
    "a profile of `laser calibrate`": frozenset({"format", "version", "sha256", "profile"}),
}
"""Each kind of file, and keys that tell it; the first of two that fit alike counts."""
MOST_FAULTS = 3  # that are told of a file of another kind
FIRST = 100_000  # characters of a file's first line


def recognised(keys: Collection[str]) -> str | None:
    """Returns the kind of a file with these keys; None: they are too few of any kind."""
    fitting = {name: len(known & set(keys)) for name, known in FILES.items()}
    best = max(fitting, key=lambda name: (fitting[name], fitting[name] / len(FILES[name])))
    enough = 2 * fitting[best] > len(keys) or 2 <= len(FILES[best]) <= 2 * fitting[best]
    return best if enough else None


def mistaken(path: Path, into: Any, faults: Collection[str]) -> ConfigError | None:
    """Returns the error of a file most of whose keys its class lacks: what it must be, and what it seems to be.

    Where it seems to be nothing else, MOST_FAULTS faults are told, too.
    `into`: the dataclass that the file was read into, or a union of such. None: most of its keys are known, or like
    known ones.
    """
    keys, known = _keys(path), _fields(into)
    seems, wanted = recognised(keys), _wanted(known)
    other = seems is not None and seems != wanted
    strange = [key for key in keys if key not in known and (other or nearest(key, known) is None)]
    if len(strange) < 2 or 2 * len(strange) <= len(keys):
        return None
    must = f"must be {wanted}, with keys such as {', '.join(sorted(FILES.get(wanted, known))[:4])}"
    if other:
        return ConfigError(f"{path}: seems to be {seems}, {must}")
    said = f"{len(strange)} of its {len(keys)} keys are unknown"
    return ConfigError(f"{path}: {said}, {must}", *bounded(path, faults, MOST_FAULTS).args)


def _keys(path: Path) -> list[str]:
    """Returns the keys of a YAML mapping or of the first line's JSON object; empty: the file has neither."""
    try:
        root: yaml.Node = compose_file(path)
    except ConfigError:
        return _first_keys(path)
    return [str(name.value) for name, _ in root.value] if isinstance(root, yaml.MappingNode) else []


def _first_keys(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            said = decode_json(file.readline(FIRST))
    except (OSError, ValueError):  # a UnicodeError is one
        return []
    return list(said) if isinstance(said, dict) else []


def _fields(into: Any) -> set[str]:
    """Returns the keys that a file may have at its top."""
    if typing.get_origin(into) in (types.UnionType, typing.Union):
        return {"kind"}.union(*map(_fields, typing.get_args(into)))
    flat: Iterable[str] = ()
    for hint in typing.get_type_hints(into, include_extras=True).values():
        flat = (*flat, *(name for each in typing.get_args(hint)[1:] for name in getattr(each, "flat", ())))
    return {*(field.name for field in dataclasses.fields(into)), *flat}


def _wanted(known: Collection[str]) -> str:
    """Returns the kind of file that these are the keys of."""
    whole = [name for name, keys in FILES.items() if keys <= set(known)]
    return max(whole, key=lambda name: len(FILES[name]), default="a file")
