"""What every command tells alike: an error in one line, and progress as bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from models.errors import LaserError


@contextmanager
def errors_in_one_line(*further: type[Exception]) -> Iterator[None]:
    """Ends the command with one line and exit code 1 at a LaserError, an OSError or one of `further`."""
    told: tuple[type[Exception], ...] = (LaserError, OSError, *further)
    try:
        yield
    except told as error:
        raise click.ClickException(" ".join(str(error).split())) from error


class ProgressBars:
    """An `experiments.progress.Reporter` that draws bars in the terminal."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        with click.progressbar(length=total, label=f"{label:<16}") as bar:
            yield bar.update

    def note(self, text: str) -> None:
        click.echo(text)
