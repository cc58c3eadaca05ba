"""`laser evaluate`: how well a model answers the bundled benchmarks, and what closing its thoughts early would cost."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.runner import Runner

if TYPE_CHECKING:
    from experiments.evaluation import Record

THRESHOLDS = (0.3, 0.5, 0.65, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)


@click.command("evaluate")
@click.option("--model", type=click.Path(path_type=Path), help="A model's directory; default: the bundled model.")
@click.option(
    "-n", "count", default=200, show_default=True, type=click.IntRange(1, 5000), help="Questions per benchmark."
)
@click.option("--seed", default=1, show_default=True, help="Which held-out questions are drawn.")
@click.option("--max-tokens", default=640, show_default=True, type=click.IntRange(1), help="Longest reply, tokens.")
@click.option("--thinking", type=click.Path(path_type=Path), help="Thinking format. [default: the model's laser.yaml]")
@click.option("--runner", type=click.Choice(list(Runner)), default=Runner.AUTO, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the figures here.")
@click.option("--served", type=click.FloatRange(0.0, 1.0, min_open=True), help="Also really serve at this threshold.")
def command(
    model: Path | None,
    count: int,
    seed: int,
    max_tokens: int,
    thinking: Path | None,
    runner: Runner,
    out: Path | None,
    served: float | None,
) -> None:
    """Answer fresh questions with full thought, probing at every transition point, and report both.

    Greedy; probe tokens are counted; one pass tells of all thresholds. --served adds a second pass that closes thoughts
    for real, to hold against what the first pass told.
    """
    import torch

    from engine.base import EngineError
    from engine.load import load_model
    from engine.torch_engine import TorchEngine
    from experiments.evaluation import evaluation_loop, record
    from experiments.questions import bundled_questions
    from models.chat_model import load_chat_model
    from models.reasoner import bundled_model
    from models.strict_yaml import ConfigError
    from models.tokenizer import TokenizerError

    torch.set_num_threads(1)
    try:
        directory = model or bundled_model()
        chat = load_chat_model(directory, thinking)
        packed = load_model(directory, runner)
        questions = bundled_questions(count, seed)
        passes: list[list[Record]] = []
        for threshold in (math.inf, served):
            if threshold is not None:
                loop = evaluation_loop(TorchEngine(packed), chat, threshold)
                with click.progressbar(length=len(questions), label="Answering") as bar:
                    passes.append(
                        record(loop, chat, questions, max_tokens=max_tokens, on_answer=partial(bar.update, 1))
                    )
    except (EngineError, TokenizerError, ConfigError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    figures = _figures(passes[0])
    _print(figures)
    if served is not None:
        right, rows = _means(passes[1])
        figures["served"] = {"threshold": served, "accuracy": right, "tokens": rows}
        click.echo(f"\nReally served at {served:.2f}: accuracy {right:.1%}, {rows:.0f} tokens")
    if out is not None:
        out.write_text(json.dumps({"questions": count, "seed": seed, **figures}, indent=1) + "\n", encoding="utf-8")


def _means(records: list[Record]) -> tuple[float, float]:
    """Accuracy, and tokens decoded for a reply in all."""
    return sum(one.right for one in records) / len(records), sum(one.rows for one in records) / len(records)


def _figures(records: list[Record]) -> dict[str, Any]:
    from experiments.evaluation import at_threshold, auroc, interval

    families: dict[str, Any] = {}
    for family in dict.fromkeys(one.question.family for one in records):
        mine = [one for one in records if one.question.family == family]
        right = sum(one.right for one in mine)
        low, high = interval(right, len(mine))
        families[family] = {
            "accuracy": right / len(mine),
            "interval": [low, high],
            "tokens": sum(one.tokens for one in mine) / len(mine),
            "unended": sum(not one.ended for one in mine),
        }
    area = auroc(probe for one in records for probe in one.probes)
    sweep = [at_threshold(records, threshold) for threshold in THRESHOLDS]
    return {
        "families": families,
        "accuracy": sum(one.right for one in records) / len(records),
        "tokens": sum(one.tokens for one in records) / len(records),
        "auroc": None if math.isnan(area) else area,
        "thresholds": [
            {"threshold": p.threshold, "accuracy": p.accuracy, "tokens": p.tokens, "saved": p.saved, "exits": p.exits}
            for p in sweep
        ],
    }


def _print(figures: dict[str, Any]) -> None:
    click.echo(f"\n{'benchmark':<12}{'accuracy':>9}{'95 % interval':>16}{'tokens':>8}{'unended':>9}")
    for family, found in figures["families"].items():
        low, high = found["interval"]
        click.echo(
            f"{family:<12}{found['accuracy']:>9.1%}{f'{100 * low:.1f}…{100 * high:.1f}':>16}"
            f"{found['tokens']:>8.0f}{found['unended']:>9}"
        )
    click.echo(f"{'all':<12}{figures['accuracy']:>9.1%}{'':>16}{figures['tokens']:>8.0f}")
    area = "undefined: all right, or all wrong" if figures["auroc"] is None else f"{figures['auroc']:.3f}"
    click.echo(f"\nAUROC of the probes' confidence: {area}")
    click.echo(f"\n{'threshold':>9}{'accuracy':>10}{'tokens':>8}{'saved':>8}{'closed early':>14}")
    for p in figures["thresholds"]:
        row = f"{p['threshold']:>9.2f}{p['accuracy']:>10.1%}{p['tokens']:>8.0f}{p['saved']:>8.1%}{p['exits']:>14.1%}"
        click.echo(row)
