"""Options that several commands share: which questions, which engine, which server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.options import EngineOptions
from engine.registry import AUTO, CacheType, Runner, kinds
from engine.registry import engine_options as options_of

Command = TypeVar("Command", bound=Callable[..., Any])


def asking(*, seed: int) -> Callable[[Command], Command]:
    """Returns a decorator that adds model, files, count, seed, max_tokens and thinking to a command's parameters."""
    options = (
        click.option("--model", type=click.Path(path_type=Path), help="A model's directory; default: the bundled one."),
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


url_option = click.option(
    "--url", default=DEFAULT_URL, envvar="LASER_URL", show_default=True, show_envvar=True, help="The server's address."
)
key_option = click.option(
    "--key",
    envvar="LASER_KEY",
    show_envvar=True,
    callback=_visible,
    help="Bearer key, where the server wants one.",
)
