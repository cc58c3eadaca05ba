"""`laser train`: trains the bundled model from a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.messages import errors_in_one_line, progress

if TYPE_CHECKING:
    from experiments.progress import Advance
    from models.reasoner.training import Progress


class _Steps:
    """Tells how many steps more are done; the first ones may be those of an earlier run."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done = 0

    def __call__(self, now: Progress) -> None:
        self._advance(now.step - self._done, f"{now.stage}, loss {now.loss:.3f}, {now.slot_rate:,.0f} slots/s")
        self._done = now.step


@click.command("train")
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--seed",
    type=int,
    help="Decides data and weights: the same seed gives the same model. [default: 0; with --from, 1, for other data]",
)
@click.option(
    "--from",
    "start",
    type=click.Path(file_okay=False, path_type=Path),
    help="A finished model to train on, for a quarter of the time; without it, from nothing.",
)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1), help="CPU threads.")
def command(out_dir: Path, seed: int | None, start: Path | None, threads: int) -> None:
    """Train the bundled model anew and write it to OUT_DIR. You do not need this to use LASER; it takes hours.

    An interrupted run continues where it stopped when the same command is given again.
    """
    from models.reasoner.training import REFINEMENT, TrainingConfig, train

    config = TrainingConfig() if start is None else REFINEMENT
    config = replace(config, threads=threads, seed=config.seed if seed is None else seed)
    with errors_in_one_line(ValueError), progress().stage("Training", config.steps) as advance:
        train(out_dir, config=config, on_progress=_Steps(advance), start=start)
    click.echo(f"the model is in {out_dir}; serve it with `laser serve --model {out_dir}`")
