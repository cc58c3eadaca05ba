"""`laser calibrate`: measures a model's profile, which serving the model needs in advance."""

from __future__ import annotations

from pathlib import Path

import click

from laser.cli.options import asking, engine_options, engine_settings

SCORES = ("geometric_mean", "joint")


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
@engine_options
@click.option("--score", type=click.Choice(SCORES), help="How confidence is told. [default: the thinking format's]")
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
    score: str | None,
    epsilon: float,
    delta: float,
    budgets: tuple[int, ...] | None,
    out: Path | None,
) -> None:
    """Measure a model's accuracy and tokens at every threshold and budget, certify those that are safe, time its steps.

    Each question is answered once, greedily, with full thought and a probe at every transition point; budgets cost one
    short answer more. Finished pieces are kept in OUT.records.jsonl: a killed run goes on from there when it is run
    again, and other levels or budgets need no thought to be decoded again.
    """
    import time

    import torch

    from controller.serving.thought import probe_spec
    from engine.base import EngineError
    from engine.registry import open_engine
    from experiments.calibration import profile as profiling
    from experiments.calibration.summary import summary
    from experiments.calibration.traces import (
        TraceError,
        TraceLog,
        missing_closings,
        questions_sha256,
        record_closings,
        record_thoughts,
    )
    from experiments.evaluation.evaluation import evaluation_loop
    from experiments.evaluation.question_files import QuestionError, file_questions
    from experiments.evaluation.questions import bundled_questions
    from experiments.provenance import provenance
    from laser.server.deployment import BUNDLED_NAME
    from models.chat_model import load_chat_model
    from models.files.strict_yaml import ConfigError
    from models.profile.profile import FILE_NAME, identify, write_profile
    from models.reasoner import bundled_model
    from models.score import Score
    from models.thinking import Keep
    from models.tokenizer import TokenizerError

    torch.set_num_threads(1)
    levels = profiling.Levels(epsilon=epsilon, delta=delta)
    try:
        directory = model or bundled_model()
        path = out or directory / FILE_NAME
        if not path.parent.is_dir():  # fails now rather than after all the decoding
            raise click.ClickException(f"there is no directory {str(path.parent)!r} for the profile")
        questions = file_questions(files, count, seed) if files else bundled_questions(count, seed)
        profiling.check_count(len(questions), levels, budgets)
        chat = load_chat_model(directory, thinking)
        if chat.thinking.format.keep is not Keep.ANSWER:
            raise ConfigError("the thinking format has keep: close, must be answer: exits are judged by trial answers")
        spec = probe_spec(chat.thinking, chat.stop_tokens, Score(score) if score else None)
        settings = engine_settings(kind, runner, cells, cache)
        engine = open_engine(directory, settings).engine
        loop = evaluation_loop(engine, chat)
        identity = identify(directory, chat.thinking.format, None if model else BUNDLED_NAME)
        header = {
            "weights_sha256": identity.weights_sha256,
            "thinking_sha256": identity.thinking_sha256,
            "questions_sha256": questions_sha256(questions, files),
            "max_tokens": max_tokens,
        }
        with TraceLog(path.with_name(f"{path.name}.records.jsonl"), header) as log:
            with click.progressbar(length=len(questions), label="Full thoughts   ") as bar:
                bar.update(len(log.traces))
                record_thoughts(loop, chat, questions, log, max_tokens=max_tokens, on_done=lambda: bar.update(1))
            pilot = profiling.pilot(len(questions), seed) if budgets is None else []
            ladder = profiling.chosen_budgets(log.traces, pilot) if budgets is None else budgets
            missing = len(missing_closings(log, ladder))
            with click.progressbar(length=missing, label="Budgets         ") as bar:
                record_closings(
                    loop, chat, questions, log, ladder, max_tokens=max_tokens, on_done=lambda: bar.update(1)
                )
        click.echo("Step times")
        traces = [log.traces[number] for number in sorted(log.traces)]
        plant, probe = profiling.measured_plant(
            engine, traces, spec, max_batch=settings.max_batch, clock=time.perf_counter
        )
        found = profiling.profile(
            model=identity,
            traces=log.traces,
            closings=log.closings,
            budgets=ladder,
            unseen=[number for number in range(len(questions)) if number not in pilot],
            spec=spec,
            levels=levels,
            max_tokens=max_tokens,
            plant=plant,
            probe=probe,
            origin=provenance(directory, threads=torch.get_num_threads(), options=context.params),
        )
        write_profile(path, found)
    except (
        EngineError, TokenizerError, ConfigError, QuestionError, TraceError, profiling.ShortOfData, OSError
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{summary(found)}\n\nProfile: {path}\nRecords: {log.path}")
