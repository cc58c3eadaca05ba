"""YAML text as nodes: whatever is no YAML is a ConfigError, and numbers are spelled as in YAML 1.2.

So `1e1` and `1e-3` are floats, `010` is ten and `1:30` a text. Of YAML 1.1 the words for true and false stay, `yes`,
`off` and the like, and so does the underscore between digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from models.errors import Faults
from models.files.text import read_text

MOST = 4_000_000  # characters of a file
SHOWN = 80  # characters of a value that an error shows
DEEPEST = 50  # brackets within brackets

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class ConfigError(Faults):
    """A configuration file that cannot be used; the message of each fault names file, line, column and key."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Returns the tag of a plain scalar by its first character: PyYAML's, but with the numbers of YAML 1.2."""
    numbers = (f"{_TAG}int", f"{_TAG}float")
    found = {
        first: [(tag, spelled) for tag, spelled in pairs if tag not in numbers]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    ours = [(tag, re.compile(f"(?:{spelled.pattern})$")) for tag, spelled in zip(numbers, (_INT, _FLOAT), strict=True)]
    for first in "-+.0123456789":
        found[first] = ours + found.get(first, [])
    return found


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def fetch_flow_collection_start(self, kind: Any) -> None:
        if self.flow_level >= DEEPEST:  # each level makes PyYAML's scanner slower at every token
            raise yaml.scanner.ScannerError(None, None, "it is nested too deep", self.get_mark())
        super().fetch_flow_collection_start(kind)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute): quotes what YAML 1.1 or 1.2 reads as no text
        first: pairs + yaml.SafeLoader.yaml_implicit_resolvers.get(first, []) for first, pairs in _resolvers().items()
    }


def dumped(value: Any) -> str:
    """Returns a value of YAML's own types as YAML text."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def compose_file(path: Path, *, secret: bool = False, text: str | None = None) -> yaml.Node:
    """Returns the root node of a YAML file, or of the `text` in it; of an empty one, an empty mapping.

    Raises ConfigError if the file is no YAML; if it is `secret`, the message shows nothing of it.
    """

    def told(why: str, mark: yaml.Mark | None) -> ConfigError:
        why = re.sub(r"'.*'|\".*\"", "…", why, flags=re.DOTALL) if secret else why
        return ConfigError(f"{path}{place(mark)}: is not YAML: {why}")

    root = compose_text(read_text(path, ConfigError, MOST) if text is None else text, told)
    return root if root is not None else yaml.MappingNode(f"{_TAG}map", [], None, None)


def place(mark: yaml.Mark | None) -> str:
    """Returns where in a file something stands, as `:line:column` from 1; empty: it stands nowhere."""
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def compose_text(text: str, told: Callable[[str, yaml.Mark | None], ConfigError]) -> yaml.Node | None:
    """Returns the root node of a YAML text, whose mappings have texts as keys; None: there is none.

    Raises what `told` makes of a reason and its place, None where there is none.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        why = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
        raise told(why, getattr(error, "problem_mark", None)) from error
    except RecursionError as error:
        raise told("it is nested too deep", None) from error
    except Exception as error:  # PyYAML's scanner and parser also raise IndexError, KeyError and others
        raise told(f"it cannot be read: {type(error).__name__}", None) from error
    _check_keys(root, told)
    return root


def _check_keys(root: yaml.Node | None, told: Callable[[str, yaml.Mark | None], ConfigError]) -> None:
    seen: set[int] = set()  # nodes that aliases repeat, or that hold themselves
    left = [root]
    while left:
        node = left.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    raise told(f"unknown key, which is {shown(name)}, must be a text", name.start_mark)
                left.append(value)


def plain_value(node: yaml.ScalarNode) -> Any:
    """Returns the value of a scalar in Python's own types. Raises ValueError, which says why, if it has none."""
    tag, text = node.tag, str(node.value)
    try:
        if tag == f"{_TAG}int":
            return _whole(text)
        if tag == f"{_TAG}float":
            return _float(text)
        value = yaml.SafeLoader("").construct_object(node)
    except Exception as error:  # PyYAML's constructors raise KeyError, IndexError, AttributeError and others
        if isinstance(error, OverflowError):
            raise ValueError("which is too large a number") from error
        if not tag.startswith(_TAG):  # the tag is the file's own words, which may be a secret
            raise ValueError("which has a tag of its own, must have none") from error
        raise ValueError(f"which is no valid {tag.removeprefix(_TAG)}") from error
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):  # an escape can write one, UTF-8 cannot
            raise ValueError("which has half a surrogate pair")
        if "\x00" in value:
            raise ValueError("which has a character NUL")
    return value


def _whole(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError("is no whole number")
    digits = text.replace("_", "")
    return int(digits, {"0o": 8, "0x": 16}.get(digits[:2], 10))


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError("is no number")
    value = float(re.sub(r"\.(?=inf|nan)", "", text.lower().replace("_", "")))
    if math.isinf(value) and "inf" not in text.lower():
        raise OverflowError
    return value


def spelled_out(node: yaml.Node, short: Mapping[str, str]) -> yaml.Node:
    """Returns the mapping that a shorter form stands for: `short` has the key of each kind of value; others stay."""
    kind = node.tag.removeprefix(_TAG)
    if kind not in short:
        return node
    if kind == "str":  # stands for a list of one
        node = yaml.SequenceNode(f"{_TAG}seq", [node], node.start_mark, node.end_mark)
    key = yaml.ScalarNode(f"{_TAG}str", short[kind], node.start_mark, node.end_mark)
    return yaml.MappingNode(f"{_TAG}map", [(key, node)], node.start_mark, node.end_mark)


def shown(node: yaml.Node) -> str:
    """Returns a node as errors show it."""
    if isinstance(node, yaml.ScalarNode):
        return repr(str(node.value)[:SHOWN])
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a sequence"
