"""`laser calibrate`: measures a model's profile, which serving the model needs in advance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from laser.cli.common.messages import errors_in_one_line, progress
from laser.cli.common.options import asking, loading_options, loading_settings, score_option


def _budgets(context: click.Context, option: click.Parameter, said: str | None) -> tuple[int, ...] | None:
    if said is None:
        return None
    try:
        budgets = tuple(sorted({int(part) for part in said.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{said!r} is no list of tokens such as 40,80,160") from None
    if budgets[0] < 1:
        raise click.BadParameter(f"{budgets[0]} is below 1")
    return budgets


@click.command("calibrate")
@asking(seed=2)
@loading_options
@score_option
@click.option(
    "--epsilon",
    default=0.03,
    show_default=True,
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    help="Certified risk: the full thought right, an early exit wrong.",
)
@click.option(
    "--delta",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    help="Chance that the certificate is wrong.",
)
@click.option(
    "--budgets",
    callback=_budgets,
    metavar="N,N,…",
    help="Thought budgets, tokens. [default: p10, p25, p50, p75, p90, p97 of 48 full thoughts]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="The profile. [default: profile.json beside the model]",
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
    score: str | None,
    epsilon: float,
    delta: float,
    budgets: tuple[int, ...] | None,
    out: Path | None,
    **loading: Any,
) -> None:
    """Measure a model's accuracy and tokens at every threshold and budget, certify those that are safe, time its steps.

    Each question is answered once, greedily, with full thought and a probe at every transition point; budgets cost one
    short answer more. Finished pieces are kept in OUT.records.jsonl: a killed run goes on from there when it is run
    again, and other levels or budgets need no thought to be decoded again.
    """
    from experiments.calibration.profile import Levels
    from experiments.calibration.run import CalibrationSettings, calibrate
    from experiments.calibration.summary import summary
    from models.score import Score

    with errors_in_one_line():
        settings = CalibrationSettings(
            model=model,
            thinking=thinking,
            files=files,
            count=count,
            seed=seed,
            max_tokens=max_tokens,
            **loading_settings(loading),
            score=Score(score) if score else None,
            levels=Levels(epsilon=epsilon, delta=delta),
            budgets=budgets,
            out=out,
        )
        found = calibrate(settings, reporter=progress(), options=context.params)
    click.echo(f"\n{summary(found.profile)}\nAnswers and probes {found.grading}")
    click.echo(f"\nProfile: {found.path}\nRecords: {found.records}")
