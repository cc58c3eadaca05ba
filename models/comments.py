"""What the code says of its own fields: the comment beside a field, or the text below it, is its description.

The reference, /openapi.json and `laser docs` tell these descriptions, so that each stands in one place, at the field.
"""

from __future__ import annotations

import ast
import io
import linecache
import re
import sys
import tokenize
from functools import cache
from inspect import cleandoc, getattr_static

NO_TEXT = re.compile(r"(noqa|type: ignore|fmt: |pragma)")  # comments for tools
WORDS = {"None": "null", "True": "true", "False": "false"}  # as files and clients spell Python's words


def described(owner: type) -> dict[str, str]:
    """Returns the descriptions of a class's fields or members, those of its bases included, in their order.

    A field without a description is left out, and so is every field of a class whose source is not at hand.
    """
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base.__module__ != "builtins":
            found.update(_of_class(base.__module__, base.__qualname__))
    return found


def summary(owner: object) -> str:
    """Returns the first paragraph of an object's own docstring, without the errors; empty: it has no docstring."""
    text = told(cleandoc(getattr_static(owner, "__doc__", None) or "").partition("\n\n")[0])
    return text.partition(" Raises ")[0]


def told(text: str) -> str:
    """Returns a text in one line, with Python's words spelled as in YAML and JSON."""
    return re.sub(r"\b(None|True|False)\b", lambda word: WORDS[word[0]], " ".join(text.split()))


@cache
def _of_class(module: str, name: str) -> dict[str, str]:
    source = _source(module)
    if source is None:
        return {}
    tree, comments = source
    body: list[ast.stmt] = tree.body
    for part in name.split("."):
        owner = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == part), None)
        if owner is None:
            return {}
        body = owner.body
    found = {}
    for place, node in enumerate(body):
        field = _name(node)
        if field is not None:
            after = body[place + 1] if place + 1 < len(body) else None
            below, above = _docstring(after), _above(node, comments)
            text = below or (above if node.end_lineno != node.lineno else "") or _beside(node, comments) or above
            if text:
                found[field] = told(text)
    return found


@cache
def _source(module: str) -> tuple[ast.Module, dict[int, tuple[bool, str]]] | None:
    """Returns a module's syntax, and its comments by line: whether the line holds nothing else, and the text."""
    loaded = sys.modules.get(module)
    if loaded is None or loaded.__spec__ is None:
        return None
    text = "".join(linecache.getlines(loaded.__spec__.origin or "", vars(loaded)))
    if not text:
        return None
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            said = re.split(r"\s*#\s*" + NO_TEXT.pattern, token.string.lstrip("# "))[0].strip()
            alone = not token.line[: token.start[1]].strip()
            comments[token.start[0]] = (alone, "" if NO_TEXT.match(said) else said)
    return ast.parse(text), comments


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _beside(node: ast.stmt, comments: dict[int, tuple[bool, str]]) -> str:
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return " ".join(comments[line][1] for line in lines if line in comments)


def _above(node: ast.stmt, comments: dict[int, tuple[bool, str]]) -> str:
    texts: list[str] = []
    line = node.lineno - 1
    while line in comments and comments[line][0]:
        texts.insert(0, comments[line][1])
        line -= 1
    return " ".join(texts)
