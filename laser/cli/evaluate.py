"""`laser evaluate`: measures how well a model answers, and what closing its thoughts early saves and costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laser.cli.common.extras import needs
from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, progress
from laser.cli.common.numbers import FiniteRange
from laser.cli.common.options import asking, loading_options, loading_settings, score_option

if TYPE_CHECKING:
    from experiments.evaluation.run import EvaluatedModel

Budgets = tuple[int, ...] | None  # None: percentiles of the full thoughts' lengths


def _budgets(context: click.Context, option: click.Parameter, said: str | None) -> Budgets:
    if said is None:
        return None
    if said.strip() == "none":
        return ()
    try:
        budgets = tuple(int(part) for part in said.split(","))
    except ValueError:
        raise click.BadParameter(f"{said!r} is no list of tokens such as 40,80,160, nor `none`") from None
    if min(budgets) < 0:
        raise click.BadParameter(f"{min(budgets)} is below 0")
    return budgets


def _writable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():  # fails now rather than after all the decoding
        raise click.BadParameter(f"there is no directory {str(path.parent)!r}")
    return path


def _drawable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        needs("matplotlib")
    return _writable(context, option, path)


OUT = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.command("evaluate")
@asking(seed=1)
@loading_options
@score_option
@click.option(
    "--budgets",
    callback=_budgets,
    metavar="N,N,…|none",
    help="Also answer with thoughts really stopped after so many thinking tokens, once for each. [default: the lengths "
    "that 10, 25, 50, 75 and 90 % of full thoughts stay under]",
)
@click.option(
    "--served",
    type=FiniteRange(0.0, 1.0, min_open=True),
    help="Also answer once with thoughts really stopped at this threshold, to check the computed figures.",
)
@click.option(
    "--temperature",
    type=FiniteRange(0.0, 100.0, min_open=True),
    help="Also answer once with full thought sampled at this temperature, instead of greedily.",
)
@click.option("--json", "figures_file", type=OUT, callback=_writable, help="Write all figures here.")
@click.option("--plot", "plot_file", type=OUT, callback=_drawable, help="Draw the figures here, as PNG.")
@click.option(
    "--records", "records_file", type=OUT, callback=_writable, help="Write each question's probes here, JSON Lines."
)
@click.pass_context
def command(
    context: click.Context,
    /,
    model: Path | None,
    files: tuple[Path, ...],
    count: int,
    seed: int,
    max_tokens: int,
    thinking: Path | None,
    budgets: Budgets,
    served: float | None,
    temperature: float | None,
    figures_file: Path | None,
    plot_file: Path | None,
    records_file: Path | None,
    score: str | None,
    **loading: Any,
) -> None:
    """Answer questions with full thought, and tell what early exit would change.

    Thoughts are probed at ends of paragraphs and words such as Wait; probes are counted as cost. Greedy: always the
    likeliest token. One pass tells of all thresholds; each budget needs a pass of its own, and so do --served and
    --temperature.
    """
    from experiments.evaluation.run import EvaluationSettings, evaluate_model
    from experiments.evaluation.summary import summary
    from models.score import Score

    with errors_in_one_line():
        model = located(model)
        settings = EvaluationSettings(
            model=model,
            thinking=thinking,
            files=files,
            count=count,
            seed=seed,
            max_tokens=max_tokens,
            **loading_settings(loading, model),
            score=Score(score) if score else None,
            budgets=budgets,
            served=served,
            temperature=temperature,
        )
        found = evaluate_model(settings, reporter=progress())
        click.echo(f"\n{summary(found.figures)}")
        _write(found, context.params)


def _write(found: EvaluatedModel, options: dict[str, Any]) -> None:
    """Writes the files that the options name."""
    import torch

    from experiments.evaluation.report import write_json, write_records
    from experiments.provenance import provenance

    if options["records_file"] is not None:
        write_records(options["records_file"], found.records)
    if options["figures_file"] is not None:
        origin = provenance(found.directory, threads=torch.get_num_threads(), options=options)
        write_json(options["figures_file"], found.figures, origin)
    if options["plot_file"] is not None:
        from experiments.evaluation.figure import draw
        from experiments.figures import drawn

        drawn(partial(draw, options["plot_file"], found.figures))
