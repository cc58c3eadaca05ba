"""`laser evaluate`: measures how well a model answers, and what closing its thoughts early saves and costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.extras import needs
from laser.cli.options import asking, engine_options, engine_settings

if TYPE_CHECKING:
    from experiments.evaluation.evaluation import EvaluationRecord

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
@engine_options
@click.option(
    "--budgets",
    callback=_budgets,
    metavar="N,N,…|none",
    help="Also really serve with these thought budgets, tokens. [default: p10, p25, p50, p75, p90 of full thoughts]",
)
@click.option("--served", type=click.FloatRange(0.0, 1.0, min_open=True), help="Also really serve at this threshold.")
@click.option(
    "--temperature",
    type=click.FloatRange(0.0, 100.0, min_open=True),
    help="Also answer with full thought sampled at this temperature.",
)
@click.option("--json", "figures_file", type=OUT, callback=_writable, help="Write all figures here.")
@click.option("--plot", "plot_file", type=OUT, callback=_drawable, help="Draw the figures here, as PNG.")
@click.option("--records", "records_file", type=OUT, callback=_writable, help="Write each question's probes here.")
@click.pass_context
def command(
    context: click.Context,
    model: Path | None,
    files: tuple[Path, ...],
    count: int,
    seed: int,
    max_tokens: int,
    thinking: Path | None,
    kind: str,
    runner: str,
    cells: int,
    cache: str,
    budgets: Budgets,
    served: float | None,
    temperature: float | None,
    figures_file: Path | None,
    plot_file: Path | None,
    records_file: Path | None,
) -> None:
    """Answer questions with full thought, probing at every transition point, and tell what early exit would change.

    Greedy; probe tokens are counted; one pass tells of all thresholds. Budgets are really served, each in a pass of its
    own, and so are --served and --temperature.
    """
    import numpy as np
    import torch

    from controller.policy import Limits
    from engine.base import EngineError
    from engine.registry import open_engine
    from experiments.evaluation import sweeps
    from experiments.evaluation.evaluation import FULL_THOUGHT, evaluate, evaluation_loop
    from experiments.evaluation.question_files import QuestionError, file_questions
    from experiments.evaluation.questions import bundled_questions
    from experiments.evaluation.report import evaluation, write_json, write_records
    from experiments.evaluation.summary import summary
    from experiments.provenance import provenance
    from models.chat_model import load_chat_model
    from models.files.strict_yaml import ConfigError
    from models.reasoner import bundled_model
    from models.tokenizer import TokenizerError

    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    try:
        directory = model or bundled_model()
        questions = file_questions(files, count, seed) if files else bundled_questions(count, seed)
        chat = load_chat_model(directory, thinking)
        engine = open_engine(directory, engine_settings(kind, runner, cells, cache)).engine

        def answers(label: str, limits: Limits, heat: float = 0.0) -> list[EvaluationRecord]:
            loop = evaluation_loop(engine, chat, limits)
            with click.progressbar(length=len(questions), label=f"{label:<16}") as bar:
                return evaluate(
                    loop,
                    chat,
                    questions,
                    max_tokens=max_tokens,
                    temperature=heat,
                    seed=seed,
                    on_answer=partial(bar.update, 1),
                )

        full = answers("Full thought", FULL_THOUGHT)
        compared = partial(sweeps.served, full, rng=rng)
        passes = [
            compared(answers(f"Budget {budget}", Limits(budget=budget)), budget=budget)
            for budget in (sweeps.default_budgets(full) if budgets is None else budgets)
        ]
        if served is not None:
            passes.append(compared(answers(f"Threshold {served:.2f}", Limits(threshold=served)), threshold=served))
        if temperature is not None:
            sampled = answers(f"Temperature {temperature:.2f}", Limits(), temperature)
            passes.append(compared(sampled, temperature=temperature))
    except (EngineError, TokenizerError, ConfigError, QuestionError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    score = chat.thinking.format.probe.score
    figures = evaluation(full, passes, np.random.default_rng(seed), score)  # independent of earlier draws
    click.echo(f"\n{summary(figures)}")
    try:
        if records_file is not None:
            write_records(records_file, full)
        if figures_file is not None:
            origin = provenance(directory, threads=torch.get_num_threads(), options=context.params)
            write_json(figures_file, figures, origin)
        if plot_file is not None:
            from experiments.evaluation.figure import draw

            draw(plot_file, figures)
    except OSError as error:
        raise click.ClickException(str(error)) from error
