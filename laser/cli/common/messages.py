"""What every command tells alike: an error in one line, and progress as bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from models.errors import LaserError

if TYPE_CHECKING:
    from experiments.progress import Advance, Reporter


BAR = 100  # steps of a loading model's bar
GONE = "\r\x1b[2K\x1b[?25h"  # to a terminal: the line is empty, and the cursor, which a bar hides, is back


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


def given(context: click.Context, name: str) -> bool:
    """Whether a parameter of the command was given, on the command line or in the environment."""
    return context.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def progress() -> Reporter:
    """Returns what tells of progress on standard error: bars in a terminal, else a line every ten seconds."""
    if sys.stderr.isatty():
        return ProgressBars()
    from experiments.progress import ProgressLines

    return ProgressLines(lambda line: click.echo(line, err=True))


@contextmanager
def loading_bar() -> Iterator[tuple[Callable[[str, float | None], None], Callable[[], None]]]:
    """Shows in a terminal how far a model is loaded; elsewhere nothing: the log tells of its stages.

    Gives what takes each stage's name and the share of it that is done, None: not known; and what ends the bar.
    """
    if not sys.stderr.isatty():
        yield lambda stage, share: None, lambda: None
        return
    bar = click.progressbar(length=BAR, label="loading", show_eta=False, file=sys.stderr)
    over = False

    def told(stage: str, share: float | None) -> None:
        if not over:
            bar.label = f"loading {stage}"
            bar.update(max(0, round(BAR * (share or 0.0)) - bar.pos))
            bar.render_progress()

    def end() -> None:
        nonlocal over
        if not over:
            over = True
            click.echo(GONE, nl=False, file=sys.stderr)

    try:
        yield told, end
    finally:
        end()


class ProgressBars:
    """An `experiments.progress.Reporter` that draws bars in the terminal."""

    @contextmanager
    def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> Iterator[Advance]:
        from experiments.progress import SoFar

        so_far = SoFar(total, done=done, at_once=at_once)

        def told(_: object) -> str:
            return ", ".join(filter(None, (so_far.left, so_far.state)))

        # click's own estimate would take what earlier runs have done for this one's speed
        with click.progressbar(
            length=total, label=f"{label:<16}", item_show_func=told, show_eta=False, file=sys.stderr
        ) as bar:

            def advance(more: int, state: str = "", /) -> None:
                so_far.advance(more, state)
                bar.update(more, state)

            bar.update(done)
            yield advance

    def note(self, text: str) -> None:
        click.echo(text, err=True)
