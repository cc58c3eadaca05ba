"""Evaluates a model: full thoughts with every probe, and passes that are really served under limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from engine.registry import open_engine
from experiments.evaluation import passes, sweeps
from experiments.evaluation.evaluation import EvaluationRecord, evaluate, evaluation_loop
from experiments.evaluation.examination import Examination
from experiments.evaluation.report import Evaluation, evaluation
from experiments.progress import Reporter, Silent


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings(Examination):
    """Which model is evaluated on which questions, and what is really served besides the full thoughts."""

    budgets: tuple[int, ...] | None = None  # thought tokens, a pass each; None: percentiles of the full thoughts
    served: float | None = None  # threshold of one more pass; None: no such pass
    temperature: float | None = None  # of one more pass with full thoughts; None: no such pass

    def __post_init__(self) -> None:
        Examination.__post_init__(self)  # a slotted dataclass has no super() without arguments
        if min(self.budgets or (0,)) < 0:
            raise ValueError(f"a budget is {min(self.budgets or (0,))}, must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """A model's figures, and the records of the full thoughts that they come from."""

    directory: Path
    figures: Evaluation
    records: tuple[EvaluationRecord, ...]


def evaluate_model(settings: EvaluationSettings | None = None, *, reporter: Reporter | None = None) -> EvaluatedModel:
    """Answers questions with full thought, probing at every transition point, and tells what early exit would change.

    `settings` None: the defaults; `reporter` None: nobody is told of the progress. Decoding is greedy but for the pass
    with a temperature. Torch is set to the settings' threads. Raises a LaserError or a FileNotFoundError if the model,
    the questions or the thinking format cannot be used.

    >>> from experiments.evaluation.run import EvaluationSettings, evaluate_model
    >>> found = evaluate_model(EvaluationSettings(count=2, budgets=(40,)))
    >>> len(found.records), [one.budget for one in found.figures.served]
    (10, [40])
    """
    settings = EvaluationSettings() if settings is None else settings
    reporter = Silent() if reporter is None else reporter
    torch.set_num_threads(settings.threads)
    rng = np.random.default_rng(settings.seed)
    directory, questions = settings.directory, settings.questions()
    chat = settings.chat()
    asked = settings.budgets, settings.served, settings.temperature
    reporter.note(passes.plan(len(questions), *asked))
    reporter.note(f"Loading {directory} …")
    engine = open_engine(directory, settings.engine.on_threads(settings.threads)).engine
    score = settings.score or chat.thinking.format.probe.score

    def answers(one: passes.QuestionPass, number: int, count: str) -> list[EvaluationRecord]:
        label = f"Pass {number} of {count}, {one.label}"
        with reporter.stage(label, len(questions), at_once=settings.engine.max_batch) as advance:
            return evaluate(
                evaluation_loop(engine, chat, one.limits, score),
                chat,
                questions,
                max_tokens=settings.max_tokens,
                temperature=one.temperature,
                seed=settings.seed,
                on_answer=partial(advance, 1),
            )

    full = answers(passes.FULL, 1, passes.most(*asked))
    budgets = sweeps.default_budgets(full) if settings.budgets is None else settings.budgets
    further = passes.further(budgets, settings.served, settings.temperature)
    really = [
        sweeps.served(
            full,
            answers(one, number, str(1 + len(further))),
            rng,
            threshold=one.threshold,
            budget=one.budget,
            temperature=one.temperature,
        )
        for number, one in enumerate(further, 2)
    ]
    figures = evaluation(full, really, np.random.default_rng(settings.seed), score)  # independent of earlier draws
    return EvaluatedModel(directory=directory, figures=figures, records=tuple(full))
