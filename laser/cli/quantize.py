"""`laser quantize`: quantises a model to fewer bits per weight, for the ExLlamaV2 engine."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, progress
from laser.cli.common.numbers import FiniteRange

if TYPE_CHECKING:
    from engine.exllama.quantise import ConversionProgress
    from experiments.progress import Reporter


def tell(stages: Iterable[ConversionProgress], reporter: Reporter) -> None:
    """Tells a conversion's progress to a reporter, each of its stages in percent."""
    for name, looks in groupby(stages, key=lambda one: one.name):
        with reporter.stage(f"Quantising, {name}, %", 100) as advance:
            done = 0
            for look in looks:
                advance(round(100 * look.done) - done)
                done = round(100 * look.done)


@click.command("quantize")
@click.argument("model", type=click.Path(file_okay=False, path_type=Path))
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--bits", default=4.0, show_default=True, type=FiniteRange(2.0, 8.0), help="Bits a weight takes on average."
)
@click.option(
    "--head-bits",
    default="6",
    show_default=True,
    type=click.Choice(["2", "3", "4", "5", "6", "8"]),
    help="Bits a weight of the output layer takes.",
)
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), help="Intermediate files. [default: OUT_DIR.work]"
)
def command(model: Path, out_dir: Path, bits: float, head_bits: str, work: Path | None) -> None:
    """Put MODEL, a directory or a name on the hub, in fewer bits (EXL2) and write it to OUT_DIR.

    Needs a CUDA GPU and exllamav2. Then `laser serve --model OUT_DIR` serves it.

    An interrupted run continues where it stopped when the same command is given again.
    """
    from engine.exllama.load import check_machine
    from engine.exllama.quantise import quantise

    work = out_dir.with_name(f"{out_dir.name}.work") if work is None else work
    with errors_in_one_line():
        check_machine()  # before anything is fetched
        tell(quantise(located(model), out_dir, work, bits=bits, head_bits=int(head_bits)), progress())
    click.echo(f"the model is in {out_dir}; serve it with `laser serve --engine exllama --model {out_dir}`")
