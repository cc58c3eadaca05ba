"""`laser top`: shows live in a terminal what a running server does."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

import click

from laser.cli.common.messages import errors_in_one_line
from laser.cli.common.options import key_option, url_option


@click.command("top")
@url_option
@key_option
@click.option(
    "--once", is_flag=True, help="Print what it shows once and end, as it always does where the output is no terminal."
)
def command(url: str, key: str | None, once: bool) -> None:
    """Show what a running server does: load, limits, running thoughts, why the last ones stopped. q ends it."""
    from rich.console import Console

    from laser.cli.terminal.feed import Connection, Feed, Look
    from laser.cli.terminal.frame import Frame, whole_width
    from laser.cli.terminal.screen import show

    replace_unknown_characters()
    console, feed = Console(highlight=False), Feed(url, key)

    async def live() -> None:
        async with aclosing(feed.looks()) as looks:
            await show(looks, console, feed.base)

    with errors_in_one_line():
        if once or not console.is_terminal:
            look = Look(status=asyncio.run(feed.status()), connection=Connection.ONCE)
            frame = Frame(look=look, url=feed.base)
            if not console.is_terminal:
                console.width = whole_width(frame, console)
            console.print(frame)
        else:
            asyncio.run(live())


def replace_unknown_characters() -> None:
    """Makes stdout print a question mark for each character that its encoding lacks."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
