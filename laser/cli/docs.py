"""`laser docs`: finds a setting, flag, metric, field or word in the reference, offline."""

from __future__ import annotations

import re

import click

from laser.cli.common.exit_code import ExitCode
from laser.cli.common.help_pages import examples
from laser.cli.common.messages import errors_in_one_line
from laser.handbook import PLACE, Entry, find, handbook, nearest

EMPTY = ("", "[]", "()", "{}", '""')  # values that tell nothing
SHOWN = 8  # entries that are printed unless --all is given


@click.command(
    "docs",
    context_settings={"ignore_unknown_options": True},  # a flag is a word, too
    epilog=examples("laser docs budget", "laser docs --drain-s", "laser docs max wait"),
)
@click.argument("words", metavar="WORD...", nargs=-1, required=True)
@click.option("--all", "every", is_flag=True, help=f"Print every entry that matches. [default: the first {SHOWN}]")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], every: bool) -> None:
    """Find a setting, flag, metric, field, header, exit reason or word in the reference.

    WORD... is its name, or any word of its description; of several words all must be there. The glossary comes first,
    then names, then descriptions. Needs no network and no server. The exit status is 1 if nothing is found.
    """
    said = " ".join(words)
    with errors_in_one_line():
        entries = handbook()
    found = find(said, entries)
    if not found:
        like = nearest(said, entries)
        click.echo(f"nothing in the reference has {said!r}" + (f"; near: {', '.join(like)}" if like else ""), err=True)
        if like:
            click.echo(_told(find(like[0], entries)[0]))
        context.exit(ExitCode.FAILED)
    shown = found if every else found[:SHOWN]
    click.echo("\n\n".join(map(_told, shown)))
    if len(found) > len(shown):
        click.echo(f"\n… and {len(found) - len(shown)} more: --all prints them, a further word leaves fewer")


def _told(entry: Entry) -> str:
    lines = [f"{entry.name}  ({_unmarked(entry.where)})", f"    {_unmarked(entry.means)}"]
    told = {name: value for name, value in entry.more.items() if name != PLACE and value.strip("`") not in EMPTY}
    lines += [f"    {name}: {_unmarked(value)}" for name, value in told.items()]
    return "\n".join(lines)


def _unmarked(text: str) -> str:
    """Returns a text without the marks of Markdown; a link becomes the command that shows what it leads to."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"`laser docs \1`", text).replace("`", "").replace("**", "")
    return re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?![\w*])", r"\1", text)
