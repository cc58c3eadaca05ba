"""Options that several commands share: which questions, which engine, which server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.policies.definition import PolicySettings
from controller.policies.registry import POLICIES, find, summaries
from engine.options import EngineOptions
from engine.registry import AUTO, CacheType, Runner, kinds
from engine.registry import engine_options as options_of

Command = TypeVar("Command", bound=Callable[..., Any])


def asking(*, seed: int) -> Callable[[Command], Command]:
    """Returns a decorator that adds model, files, count, seed, max_tokens and thinking to a command's parameters."""
    options = (
        click.option(
            "--model", type=click.Path(path_type=Path), help="A model's directory. [default: the bundled one]"
        ),
        click.option(
            "--questions",
            "files",
            type=click.Path(path_type=Path),
            multiple=True,
            help="JSON Lines with `question` and `answer`, also GSM8K's; repeatable. [default: the bundled benchmarks]",
        ),
        click.option(
            "-n", "count", default=200, show_default=True, type=click.IntRange(1, 5000), help="Questions per benchmark."
        ),
        click.option(
            "--seed", default=seed, show_default=True, type=click.IntRange(0), help="Which questions are drawn."
        ),
        click.option(
            "--max-tokens", default=768, show_default=True, type=click.IntRange(1), help="Longest reply, tokens."
        ),
        click.option(
            "--thinking", type=click.Path(path_type=Path), help="Thinking format. [default: the model's laser.yaml]"
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):  # click shows the option added last first
            command = option(command)
        return command

    return add


_OPTIONS = (
    click.option(
        "--engine",
        "kind",
        type=click.Choice(kinds()),
        default=AUTO,
        show_default=True,
        help="What decodes; auto: exllama if it can serve the model here, else torch.",
    ),
    click.option(
        "--runner",
        type=click.Choice([runner.value for runner in Runner]),
        default=Runner.AUTO.value,
        show_default=True,
        help="torch's forward pass.",
    ),
    click.option("--cells", default=65_536, show_default=True, type=click.IntRange(1), help="KV cache, tokens."),
    click.option(
        "--cache-type",
        "cache",
        type=click.Choice([cache.value for cache in CacheType]),
        default=CacheType.FP16.value,
        show_default=True,
        help="exllama's cache.",
    ),
)


def engine_options(command: Command) -> Command:
    """Adds the parameters `kind`, `runner`, `cells` and `cache` to a command, for `engine_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_settings(kind: str, runner: str, cells: int, cache: str) -> EngineOptions:
    """Returns the EngineOptions for the parameters that `engine_options` adds; an engine takes those it has."""
    return options_of(kind, {"runner": Runner(runner), "cells": cells, "cache_type": CacheType(cache)})


DEFAULT_URL = "http://127.0.0.1:8000"


def _visible(_ctx: click.Context, _parameter: click.Parameter, key: str | None) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise click.BadParameter("must be visible ASCII characters")
    return key


def _readable(_ctx: click.Context, _parameter: click.Parameter, url: str) -> str:
    if not url.isprintable():  # bytes of the environment that are no UTF-8 are not, either
        raise click.BadParameter("must be visible characters in UTF-8")
    return url


url_option = click.option(
    "--url",
    default=DEFAULT_URL,
    envvar="LASER_URL",
    show_default=True,
    show_envvar=True,
    callback=_readable,
    help="The server's address.",
)
key_option = click.option(
    "--key",
    envvar="LASER_KEY",
    show_envvar=True,
    callback=_visible,
    help="Bearer key, where the server wants one.",
)


class PolicyKind(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A policy's kind, or module:Name; `usable` tells the kinds that a command can use."""

    name = "KIND"

    def __init__(self, usable: Callable[[type[PolicySettings]], bool]) -> None:
        self._usable = usable

    def kinds(self) -> list[str]:
        """Returns the kinds that the command can use. Imports all policies."""
        return [kind for kind in POLICIES if self._usable(find(kind))]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            usable = self._usable(find(value))
        except ValueError as error:
            if ":" in value:
                self.fail(str(error), param, ctx)
            usable = False
        if not usable:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self.kinds()))}, nor module:Name.", param, ctx)
        return value


class _PolicyOption(click.Option):
    """Lists the policies in its help, which imports them only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or not isinstance(self.type, PolicyKind):
            return record
        told = summaries()
        lines = [f"{kind}: {told[kind]}." for kind in self.type.kinds()]
        return record[0], "\n".join([record[1], "", "\b", *lines, "module:Name: a policy of your own."])


def policy_option(
    text: str, *, usable: Callable[[type[PolicySettings]], bool] = lambda _: True, default: str | None = None
) -> Callable[[Command], Command]:
    """Returns the options --policy and --set of a command, as the parameters `policy` and `assignments`."""
    policy = click.option(
        "--policy", cls=_PolicyOption, type=PolicyKind(usable), default=default, show_default=True, help=text
    )
    setting = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the policy, e.g. threshold=.95; repeatable.",
    )
    return lambda command: policy(setting(command))
