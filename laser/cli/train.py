"""`laser train`: trains the bundled model from a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from laser.cli.common.messages import errors_in_one_line


@click.command("train")
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=int, help="Decides data and weights. [default: 0; with --from, 1]")
@click.option(
    "--from",
    "start",
    type=click.Path(file_okay=False, path_type=Path),
    help="A finished model to train on, for a quarter of the time; without it, from nothing.",
)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1), help="CPU threads.")
def command(out_dir: Path, seed: int | None, start: Path | None, threads: int) -> None:
    """Train the bundled model and write it to OUT_DIR.

    An interrupted run continues where it stopped when the same command is given again.
    """
    from models.reasoner.training import REFINEMENT, Progress, TrainingConfig, train

    config = TrainingConfig() if start is None else REFINEMENT
    config = replace(config, threads=threads, seed=config.seed if seed is None else seed)
    with (
        errors_in_one_line(ValueError),
        click.progressbar(length=config.steps, label="training", item_show_func=lambda state: state or "") as bar,
    ):

        def show(progress: Progress) -> None:
            state = f"{progress.stage}, loss {progress.loss:.3f}, {progress.slot_rate:,.0f} slots/s"
            bar.update(progress.step - bar.pos, state)

        train(out_dir, config=config, on_progress=show, start=start)
    click.echo(f"the model is in {out_dir}; serve it with `laser serve --model {out_dir}`")
