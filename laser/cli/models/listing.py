"""`laser models`: lists the models on this machine, and which engine serves each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from laser.cli.common.help_pages import examples
from laser.cli.common.messages import errors_in_one_line

if TYPE_CHECKING:
    from engine.fitting.shelf import ShelvedModel
    from models.hub.cache import CacheContents


@click.command("models", epilog=examples("laser models", "laser models --json"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, with paths and reasons.")
def command(as_json: bool) -> None:
    """List the models on this machine: the bundled one, and those that were fetched by name.

    MODEL is what --model takes; the bundled model needs no name. The cache is the one that other tools of the hub use,
    too; nothing is asked of the hub, and nothing is loaded.
    """
    from engine.fitting.shelf import shelf
    from models.hub.cache import cache_contents
    from models.hub.client import cache_folder

    with errors_in_one_line():
        contents = cache_contents(cache_folder())
        models = shelf(contents)
    if as_json:
        click.echo(json.dumps([_fields(one) for one in models], indent=2))
    else:
        click.echo("\n".join(lines(models, contents)))


def _fields(one: ShelvedModel) -> dict[str, object]:
    return {
        "name": one.name,
        "path": str(one.path),
        "bytes": one.size,
        "stored": one.stored or None,
        "engines": list(one.engines),
        "why": one.why or None,
    }


def lines(models: Sequence[ShelvedModel], contents: CacheContents) -> Iterator[str]:
    """Yields a table, and below it why models are served by no engine, and what there is besides."""
    from experiments.table import Table, text, wrapped
    from models.hub.sizes import in_bytes
    from models.thinking import format_names

    rows = [
        (one.name or "(bundled)", in_bytes(one.size), one.stored or "?", ", ".join(one.engines) or "none")
        for one in models
    ]
    yield text(Table(title="", header=("model", "size", "stored as", "engines"), rows=tuple(rows)))
    yield ""
    for one in models:
        if one.why:
            yield from wrapped(one.why.replace(f"{one.path}", one.name or "the bundled model"))
    yield f"Fetched models are in {contents.place}"
    if contents.unfinished:
        yield f"{in_bytes(contents.unfinished)} there are of unfinished downloads, which the same --model goes on with"
    yield from wrapped(f"Thinking formats by name: {', '.join(format_names())}")
