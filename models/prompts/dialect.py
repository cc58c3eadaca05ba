"""What chat templates may use beyond Jinja itself, as in transformers: functions, a filter and a block."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


def environment() -> ImmutableSandboxedEnvironment:
    """Returns a new environment with all of that, and with Jinja's own `dict`."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = to_json
    made.globals |= {"raise_exception": refuse, "strftime_now": now, "namespace": CheckedNamespace}
    return made


class Generation(Extension):
    """`{% generation %}`, which marks what an assistant has said; it prints its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Dictionary:
    """What templates may do with `dict`."""

    def __call__(self, *given: Any, **named: Any) -> dict[Any, Any]:
        return dict(*given, **named)

    def fromkeys(self, *given: Any) -> dict[Any, Any]:
        """Returns a dictionary of the keys given, each with the same value."""
        return dict.fromkeys(*given)


class CheckedNamespace(Namespace):
    """A namespace without names that reach into Python."""

    def __init__(*given: Any, **named: Any) -> None:
        self, *rest = given  # a template may call a value `self`
        made = dict(*rest, **named)
        for name in made:
            check_name(name)
        Namespace.__init__(self, made)

    def __setitem__(self, name: str, value: Any) -> None:
        check_name(name)
        Namespace.__setitem__(self, name, value)


def check_name(name: object) -> None:
    """Raises SecurityError for a name in a namespace that reaches into Python."""
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace may not have {name!r}: names that begin with _ reach into Python")


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Returns a value as JSON, with characters as they are."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> None:
    """Raises TemplateError: the template does not take the chat."""
    raise TemplateError(message)


def now(form: str) -> str:
    """Returns the present time in this form."""
    return datetime.now().strftime(form)
