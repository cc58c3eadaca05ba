"""Calls as Python, `[weather(city="Oslo"), …]` and `search.call(query="…")`, as Llama's models write some of them."""

from __future__ import annotations

import ast
import re
from typing import Any

from models.tools.call_body import CallBody, Offered
from models.tools.json_text import json_of
from models.tools.objects import ObjectsBody
from models.tools.pieces import CallPiece

CODE = ("python", "code_interpreter", "ipython")  # tools that take a program, in `code`
_LIST = re.compile(r"\[\s*([A-Za-z_][\w.]*\s*(\(.*)?)?", re.DOTALL)  # of calls, or its beginning
_MOST = 100_000  # characters that are read as Python


class PythonBody(CallBody):
    """What follows a marker of Python, or a bracket at the answer's beginning: JSON objects, calls, or a program.

    Calls in Python are told at the answer's end. They are calls of tools that are offered, else they are content.
    """

    def __init__(self, *, offered: Offered, index: int, eager: bool, bare: bool) -> None:
        """`bare`: no marker said that Python comes, so it must be a list of calls."""
        super().__init__(end="", offered=offered, index=index, eager=eager)
        self._bare = bare
        self._decided = False  # it is known which of the three comes
        self._objects: ObjectsBody | None = None

    def _decide(self) -> None:
        begun = self._text.lstrip()
        if begun.startswith("{"):
            self._objects = ObjectsBody(end="", offered=self.offered, index=self.index, eager=self.eager, strange=False)
        elif self._bare:
            self.broken = _LIST.fullmatch(begun) is None
            self._decided = "(" in begun
        else:
            self._decided = bool(begun)

    @property
    def unsaid(self) -> str:
        return super().unsaid if self._objects is None else self._objects.unsaid

    def push(self, text: str) -> list[CallPiece]:
        if self._objects is None:
            self._text += text
            if not self._decided:
                self._decide()
            if self._objects is None:
                return []
            text, self._text = self._text, ""
        told = self._objects.push(text)
        self.index, self.behind, self.broken = self._objects.index, self._objects.behind, self._objects.broken
        return told

    def finish(self) -> list[CallPiece]:
        if self._objects is not None:
            return self._objects.finish()
        for name, arguments in calls_in(self._text, self.offered, programs=not self._bare):
            self._tell(json_of(arguments), name=name)
            self._next()
            self._text = ""
        told, self._told = self._told, []
        return told

    def _step(self) -> bool:
        return False


def calls_in(text: str, offered: Offered, *, programs: bool) -> list[tuple[str, dict[str, Any]]]:
    """Returns the calls that a text of Python is; if `programs`, else the call of a tool that takes programs."""
    found = _calls(text.strip(), offered) if len(text) <= _MOST else None
    if found is not None:
        return found
    program = next((name for name in CODE if programs and name in offered), None)
    return [] if program is None or not text.strip() else [(program, {"code": text.strip()})]


def _calls(text: str, offered: Offered) -> list[tuple[str, dict[str, Any]]] | None:
    try:
        said = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    calls = []
    for each in said.elts if isinstance(said, ast.List) else [said]:
        if not isinstance(each, ast.Call) or each.args:
            return None
        name = ast.unparse(each.func)
        name = name if name in offered else name.removesuffix(".call")
        if name not in offered:
            return None
        try:
            arguments = {key.arg: ast.literal_eval(key.value) for key in each.keywords if key.arg is not None}
            json_of(arguments).encode()
        except (ValueError, TypeError, RecursionError):
            return None
        if len(arguments) != len(each.keywords):
            return None
        calls.append((name, arguments))
    return calls or None
