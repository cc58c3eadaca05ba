"""Figures in sentences read as a person would say them, rounded to nothing included."""

from __future__ import annotations

import pytest

from experiments.sentences import between, costs, counted, percent, points, right, saves
from experiments.statistics import Difference, proportion


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (1.0, "costs 1.0 point of accuracy (95 %: 0.5 … 1.5)"),
        (2.34, "costs 2.3 points of accuracy (95 %: 1.8 … 2.8)"),
        (-1.5, "gains 1.5 points of accuracy (95 %: 1.0 … 2.0)"),
        (0.04, "changes accuracy by less than 0.1 points (95 %: -0.5 … 0.5)"),
        (-0.04, "changes accuracy by less than 0.1 points (95 %: -0.5 … 0.5)"),
    ],
)
def test_a_difference_is_a_cost_or_a_gain(lost: float, told: str) -> None:
    assert costs(Difference(points_lost=lost, low=lost - 0.5, high=lost + 0.5, lost=3, gained=1), 100) == told


def test_no_change_among_few_questions_is_no_proof_of_none() -> None:
    none = Difference(points_lost=0.0, low=0.0, high=0.0, lost=0, gained=0)
    assert costs(none, 100) == "changes no right answer (95 %: less than 3.0 points lost)"
    assert costs(none, 1) == "changes no right answer (95 %: less than 95.0 points lost)"


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.285, "saves 28.5 % of the tokens, probes counted,"),
        (0.0004, "saves nothing"),
        (0.0, "saves nothing"),
        (-0.0301, "saves nothing (with its probes 3.0 % more tokens are decoded)"),
    ],
)
def test_a_saving_may_be_none(share: float, told: str) -> None:
    assert saves(share) == told


def test_numbers_have_their_nouns_and_signs() -> None:
    assert (counted(1, "question"), counted(4000, "question")) == ("1 question", "4,000 questions")
    assert (points(-1.0), points(0.96), points(12.0, 0)) == ("1.0 point", "1.0 point", "12 points")
    assert (percent(0.5), percent(0.5, 0), between(-0.04, 1.0)) == ("50.0 %", "50 %", "(95 %: 0.0 … 1.0)")
    assert right(proportion([True] * 3 + [False])) == "75.0 % (95 %: 30.1 … 95.4)"
