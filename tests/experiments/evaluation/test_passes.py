"""How many passes over the questions come, and which, is told before any of them."""

from __future__ import annotations

import pytest

from experiments.evaluation.passes import further, most, plan


@pytest.mark.parametrize(
    ("budgets", "served", "temperature", "told"),
    [
        ((), None, None, "1 pass over 800 questions: full thought"),
        ((40, 80), None, None, "3 passes over 800 questions: full thought; budget 40; budget 80"),
        (
            None,
            0.9,
            0.7,
            "Up to 8 passes over 800 questions: full thought; up to 5 budgets, which the thoughts' lengths give; "
            "threshold 0.90; full thought at temperature 0.70",
        ),
    ],
)
def test_the_passes_are_told_beforehand(
    budgets: tuple[int, ...] | None, served: float | None, temperature: float | None, told: str
) -> None:
    assert plan(800, budgets, served, temperature) == told
    assert told.lower().startswith(most(budgets, served, temperature))


def test_each_pass_serves_what_its_label_says() -> None:
    budget, threshold, sampled = further((40,), 0.9, 0.7)
    assert (budget.label, budget.budget, budget.limits.budget) == ("budget 40", 40, 40)
    assert (threshold.label, threshold.threshold, threshold.limits.threshold) == ("threshold 0.90", 0.9, 0.9)
    assert (sampled.temperature, sampled.limits.threshold, sampled.limits.budget) == (0.7, None, None)
