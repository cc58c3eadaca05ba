"""What every command tells alike: an error in one line, and progress as bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from models.errors import LaserError


@contextmanager
def errors_in_one_line(*further: type[Exception]) -> Iterator[None]:
    """Ends the command with exit code 1 at a LaserError, an OSError or one of `further`, and a line for each fault."""
    told: tuple[type[Exception], ...] = (LaserError, OSError, *further)
    try:
        yield
    except told as error:
        lines = error.lines if isinstance(error, LaserError) else (" ".join(str(error).split()),)
        many = f"{len(lines)} faults" if len(lines) > 1 else ""
        raise click.ClickException("\n  ".join([many, *lines] if many else lines)) from error


class ProgressBars:
    """An `experiments.progress.Reporter` that draws bars in the terminal."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        with click.progressbar(length=total, label=f"{label:<16}") as bar:
            yield bar.update

    def note(self, text: str) -> None:
        click.echo(text)
