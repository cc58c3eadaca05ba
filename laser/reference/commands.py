"""The commands with their flags and arguments, as click holds them, and their exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from laser.cli.common.exit_code import ExitCode
from laser.cli.common.options import PolicyKind
from laser.cli.main import main
from laser.handbook import Chapter, Entry, Page
from laser.reference.settings import values
from laser.reference.shown import coded
from models.comments import told

DEFAULT = re.compile(r"\s*\[default: ([^\]]*)\]")


def commands_page(made: str) -> Page:
    """Returns the page of all commands."""
    chapters = [Chapter(title=f"`{path}`", text=_help(command), entries=tuple(_entries(command, path)))
                for path, command in commands(main, "laser")]  # fmt: skip
    codes = values(ExitCode, "Exit codes")
    return Page(title="Commands", text=made, chapters=(*chapters, codes))


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yields a command and those under it, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from commands(found, f"{path} {name}")


def _help(command: click.Command) -> str:
    return told((command.help or "").replace("\b", ""))


def _entries(command: click.Command, path: str) -> Iterator[Entry]:
    context = click.Context(command, info_name=path)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            name = parameter.make_metavar(context).strip("[]")
            more = {"value": _value(parameter), "default": "required" if parameter.required else ""}
            yield Entry(name=name, means=_sentences(command, name), more=more)
        elif isinstance(parameter, click.Option) and not parameter.hidden:
            said = told(parameter.help or "")
            stated = DEFAULT.search(said)
            default = stated[1] if stated else _default(parameter, context)
            more = {"value": _value(parameter), "default": default, "environment": _variables(parameter, context)}
            yield Entry(name=_names(parameter), means=DEFAULT.sub("", said).strip(), more=more)


def _sentences(command: click.Command, name: str) -> str:
    """Returns what a command's help says of an argument."""
    return " ".join(
        each
        for each in re.split(r"(?<=[^.]\.) (?=[A-Z`])", _help(command))
        if re.search(rf"\b{name.strip('.')}\b", each)
    )


def _names(option: click.Option) -> str:
    names = sorted(option.opts, key=len, reverse=True)
    return ", ".join(names) + "".join(f"/{name}" for name in option.secondary_opts)


def _value(parameter: click.Parameter) -> str:
    kind = parameter.type
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "flag"
    if isinstance(kind, PolicyKind):
        word = coded([*kind.kinds(), "module:Name"])
    elif isinstance(kind, click.Choice):
        word = coded(map(str, kind.choices))
    elif isinstance(kind, click.IntRange | click.FloatRange):
        word = ("whole number" if isinstance(kind, click.IntRange) else "number") + _range(kind)
    elif isinstance(kind, click.Path):
        word = "path"
    else:
        word = {"integer": "whole number", "float": "number"}.get(kind.name, kind.name)
    return word + (", repeatable" if parameter.multiple or parameter.nargs == -1 else "")


def _range(kind: Any) -> str:
    least = "" if kind.min is None else f"{'above' if kind.min_open else 'at least'} {kind.min}"
    most = "" if kind.max is None else f"{'below' if kind.max_open else 'at most'} {kind.max}"
    return "".join(f", {part}" for part in (least, most) if part)


def _default(option: click.Option, context: click.Context) -> str:
    if option.required:
        return "required"
    found = option.get_default(context, call=False)
    if option.is_flag or found is None or callable(found) or not isinstance(found, str | int | float):
        return ""
    return f"`{found}`"


def _variables(option: click.Option, context: click.Context) -> str:
    given = option.envvar
    if given is None and context.auto_envvar_prefix and option.allow_from_autoenv and option.name:
        given = f"{context.auto_envvar_prefix}_{option.name.upper()}"
    return "" if given is None else coded([given] if isinstance(given, str) else given)
