"""The options of commands that ask a model questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def asking(*, seed: int) -> Callable[[Command], Command]:
    """Which model is asked which questions, and how: model, files, count, seed, max_tokens, thinking."""
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
        for option in reversed(options):  # the last one added is shown first
            command = option(command)
        return command

    return add
