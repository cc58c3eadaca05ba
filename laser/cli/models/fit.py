"""`laser fit`: tells which context and how many requests at once fit into the memory at hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line
from laser.cli.common.options import MAX_BATCH

if TYPE_CHECKING:
    from engine.fitting.fit import MemoryFit

MIB = 1 << 20


@click.command("fit")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--max-batch", default=32, show_default=True, type=click.IntRange(1), help=MAX_BATCH)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(model: Path | None, max_batch: int, as_json: bool) -> None:
    """Tell which context and how many requests at once fit into the memory that is free now.

    MODEL is a GGUF file, which llama.cpp runs, a directory, of which is told what it takes with torch, or the name of
    one on the hub; without it, the bundled model. Nothing is loaded. The first line tells what `laser serve` takes by
    itself.
    """
    from engine.fitting.fit import fit
    from engine.registry import gpu_memory
    from models.directory import check_place
    from models.reasoner import bundled_model

    with errors_in_one_line():
        place = located(model) or bundled_model()
        check_place(place, click.ClickException)
        found = fit(place, max_batch=max_batch, gpus=gpu_memory(place))
    click.echo(json.dumps(asdict(found), indent=2) if as_json else told(found))


def told(found: MemoryFit) -> str:
    """Returns what fits, in words and as a table."""
    from experiments.table import Table, texts

    free = "how much memory of the GPU is free is not known"
    if found.available is not None and found.usable is not None:
        of = "the GPU's memory" if found.gpu else "memory"
        free = f"{found.available // MIB:,} MiB of {of} are free, {found.usable // MIB:,} of them usable by a model"
    taken = found.taken
    if taken is None:
        first = f"{found.model}: no room: its weights take {found.weights // MIB:,} MiB; {free}."
    else:
        cells = f"{taken.cells:,} cells"
        what = f"serve takes {cells}" if found.engine == "llamacpp" else f"{cells} fit (`--cells`)"
        first = (
            f"{found.model} with {found.engine}: {what} for {taken.max_batch} requests at once, "
            f"{taken.bytes // MIB:,} MiB; its weights are {found.weights // MIB:,} MiB of it; {free}."
        )
    rows = tuple(
        (one.kv_type, str(one.max_batch), f"{one.context:,}", f"{one.cells:,}", f"{one.bytes // MIB:,}")
        for one in found.batches
        if one.cells
    )
    trained = f"the model was trained for {found.trained:,} tokens" if found.trained else ""
    table = Table(title="", header=("KV cache", "at once", "context", "cells", "MiB"), rows=rows, note=trained)
    return "\n\n".join([first, *(texts([table]) if rows else ())])
