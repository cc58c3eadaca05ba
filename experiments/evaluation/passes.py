"""The passes over the questions that an evaluation makes: with full thought, and really served under limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.policy import Limits
from experiments.evaluation.evaluation import FULL_THOUGHT
from experiments.evaluation.sweeps import PERCENTILES
from experiments.sentences import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionPass:
    """A way to serve the questions; see `sweeps.served`."""

    label: str
    limits: Limits
    threshold: float | None = None
    budget: int | None = None
    temperature: float = 0.0


FULL = QuestionPass(label="full thought", limits=FULL_THOUGHT)


def further(budgets: Sequence[int], served: float | None, temperature: float | None) -> list[QuestionPass]:
    """Returns the passes behind the one with full thought; None: there is no pass with a threshold or a temperature."""
    found = [QuestionPass(label=f"budget {budget}", limits=Limits(budget=budget), budget=budget) for budget in budgets]
    if served is not None:
        found.append(QuestionPass(label=f"threshold {served:.2f}", limits=Limits(threshold=served), threshold=served))
    if temperature is not None:
        label = f"full thought at temperature {temperature:.2f}"
        found.append(QuestionPass(label=label, limits=Limits(), temperature=temperature))
    return found


def most(budgets: Sequence[int] | None, served: float | None, temperature: float | None) -> str:
    """Returns how many passes come in all, in words; `budgets` None: the thoughts' lengths will give them."""
    count = 1 + len(further(PERCENTILES if budgets is None else budgets, served, temperature))
    return f"up to {count}" if budgets is None else str(count)


def plan(questions: int, budgets: Sequence[int] | None, served: float | None, temperature: float | None) -> str:
    """Returns which passes over so many questions come, in words; the other arguments are those of `most`."""
    among = f"up to {len(PERCENTILES)} budgets, which the thoughts' lengths give"
    labels = [each.label for each in further(budgets or (), served, temperature)]
    told = [FULL.label, *([among] if budgets is None else []), *labels]
    many = most(budgets, served, temperature)
    passes = "1 pass" if many == "1" else f"{many} passes"
    return f"{passes[0].upper()}{passes[1:]} over {counted(questions, 'question')}: {'; '.join(told)}"
