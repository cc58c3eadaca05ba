"""The options by which commands that decode choose their engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.exllama.config import CacheType
from engine.registry import EngineKind, EngineSettings
from engine.torch.config import Runner

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--engine",
        "kind",
        type=click.Choice(list(EngineKind)),
        default=EngineKind.AUTO,
        show_default=True,
        help="What decodes; auto: exllama if it can serve the model here, else torch.",
    ),
    click.option(
        "--runner",
        type=click.Choice(list(Runner)),
        default=Runner.AUTO,
        show_default=True,
        help="torch's forward pass.",
    ),
    click.option("--cells", default=65_536, show_default=True, type=click.IntRange(1), help="KV cache, tokens."),
    click.option(
        "--cache-type",
        "cache",
        type=click.Choice(list(CacheType)),
        default=CacheType.FP16,
        show_default=True,
        help="exllama's cache.",
    ),
)


def engine_options(command: Command) -> Command:
    """Gives a command `kind`, `runner`, `cells` and `cache`: the fields of `EngineSettings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_settings(kind: str, runner: str, cells: int, cache: str) -> EngineSettings:
    """What was chosen by them."""
    return EngineSettings(kind=EngineKind(kind), runner=Runner(runner), cells=cells, cache=CacheType(cache))
