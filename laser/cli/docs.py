"""`laser docs`: finds a setting, flag, metric, field or word in the reference, offline."""

from __future__ import annotations

import click

from laser.cli.common.exit_code import ExitCode
from laser.cli.common.messages import errors_in_one_line
from laser.handbook import Entry, find, handbook, nearest

SHOWN = 8  # entries that are printed unless --all is given


@click.command("docs", context_settings={"ignore_unknown_options": True})  # a flag is a word, too
@click.argument("words", metavar="WORD...", nargs=-1, required=True)
@click.option("--all", "every", is_flag=True, help=f"Print every line that matches. [default: the first {SHOWN}]")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], every: bool) -> None:
    """Find a line of the reference by name or text.

    WORD... is a setting, flag, metric, field, header, exit reason or any word of their descriptions; of several words
    a line must have all. Needs no network and no server. The exit status is 1 if nothing is found.
    """
    said = " ".join(words)
    with errors_in_one_line():
        entries = handbook()
    found = find(said, entries)
    if not found:
        like = nearest(said, entries)
        click.echo(f"nothing in the reference has {said!r}" + (f"; near: {', '.join(like)}" if like else ""), err=True)
        context.exit(ExitCode.FAILED)
    shown = found if every else found[:SHOWN]
    click.echo("\n\n".join(map(_told, shown)))
    if len(found) > len(shown):
        click.echo(f"\n… and {len(found) - len(shown)} more: --all prints them, a further word leaves fewer")


def _told(entry: Entry) -> str:
    lines = [f"{entry.name}  ({entry.where})", f"    {_unmarked(entry.means)}"]
    lines += [f"    {name}: {_unmarked(value)}" for name, value in entry.more.items() if value]
    return "\n".join(lines)


def _unmarked(text: str) -> str:
    """Returns a text without the marks of Markdown."""
    return text.replace("`", "").replace("**", "")
