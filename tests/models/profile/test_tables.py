"""Profiles are checked, and their hulls hold every mixture worth having."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from models.profile.tables import NEVER, Charges, OperatingPoint, OperatingTables, prune_hull

tokens = st.floats(1, 1000).map(lambda value: round(value, 3))  # the oracle tells no smaller differences apart
points = st.lists(st.tuples(tokens, st.floats(0, 1)), min_size=1, max_size=12)


@given(points, st.floats(0.0, 1.0))
def test_no_mixture_of_all_points_beats_the_hull_at_any_budget_of_tokens(
    table: list[tuple[float, float]], where: float
) -> None:
    w, accuracy = np.array(table).T
    hull = prune_hull(w, accuracy)
    budget = w.min() + where * (w.max() - w.min())
    best = linprog(-accuracy, A_ub=w[None], b_ub=[budget], A_eq=np.ones((1, len(w))), b_eq=[1.0])
    assert np.interp(budget, w[hull], accuracy[hull]) == pytest.approx(-best.fun, abs=1e-6)


@given(points)
def test_a_hull_climbs_ever_less_steeply(table: list[tuple[float, float]]) -> None:
    w, accuracy = np.array(table).T
    hull = prune_hull(w, accuracy)
    assert np.all(np.diff(w[hull]) > 0)
    assert np.all(np.diff(accuracy[hull]) > 0)
    assert np.all(np.diff(np.diff(accuracy[hull]) / np.diff(w[hull])) <= 0)


def test_equal_and_dominated_points_are_dropped() -> None:
    assert prune_hull([10, 10, 20, 30, 40], [0.2, 0.5, 0.4, 0.9, 0.9]).tolist() == [1, 3]


ONE = (OperatingPoint(threshold=0.9, budget=100),)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ()}, "0 classes and 1 points"),
        ({"classes": ("a", "a"), "tokens": [[9], [9]], "accuracy": [[1], [1]]}, "classes are a, a, must differ"),
        ({"tokens": [[1.0, 2.0]]}, "tokens has shape \\(1, 2\\), must be \\(1, 1\\)"),
        ({"tokens": [[np.nan]]}, "tokens has an entry that is not finite"),
        ({"tokens": [[0.0]]}, "tokens has an entry of 0.0, must be above 0"),
        ({"accuracy": [[1.5]]}, "accuracy goes from 1.5 to 1.5, must stay between 0 and 1"),
        ({"points": (OperatingPoint(threshold=0.9, budget=None),)}, "longest is None, must be the tokens of a thought"),
        ({"shed_tokens": 9.0}, "shed_tokens is 9.0, must be at least 0 and below the cheapest point's 9.0"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {"classes": ("a",), "points": ONE, "tokens": [[9.0]], "accuracy": [[0.5]]}
    with pytest.raises(ValueError, match=words):
        OperatingTables(**(good | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("threshold", "budget", "words"), [(0.0, 1, "threshold is 0.0"), (0.9, -1, "budget is -1 tokens")]
)
def test_a_point_that_cannot_be_is_refused(threshold: float, budget: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OperatingPoint(threshold=threshold, budget=budget)


def test_never_is_none_in_a_point_and_a_number_in_the_arrays() -> None:
    tables = OperatingTables(
        classes=("a",),
        points=(OperatingPoint(threshold=None, budget=None), OperatingPoint(threshold=0.9, budget=100)),
        tokens=np.array([[9.0, 5.0]]),
        accuracy=np.array([[0.5, 0.4]]),
        longest=640,
    )
    assert (tables.thresholds.tolist(), tables.budgets.tolist()) == ([NEVER, 0.9], [640.0, 100.0])
    assert tables.at([0]).budgets.tolist() == [640.0]


def test_tables_of_another_lever_stand_behind_the_first_ones() -> None:
    first = OperatingTables(classes=("a",), points=ONE, tokens=[[9.0]], accuracy=[[0.5]], shed_tokens=2.0, longest=200)  # type: ignore[arg-type]
    other = OperatingTables(
        classes=("a",), points=(OperatingPoint(threshold=0.8, budget=100),), tokens=[[7.0]], accuracy=[[0.4]]  # type: ignore[arg-type]
    )  # fmt: skip
    both = first.joined(other)
    assert (both.points, both.shed_tokens, both.longest) == ((*ONE, *other.points), 2.0, 200)
    assert (both.tokens.tolist(), both.accuracy.tolist()) == ([[9.0, 7.0]], [[0.5, 0.4]])
    assert both.thresholds.tolist() == [0.9, 0.8]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("b",)}, "classes are b, must be a"),
        ({"p95_steps": [[5.0]]}, "p95_steps is None in one of both tables"),
        ({"charges": Charges(of=np.array([[0.1]]), own=False)}, "charges is None in one of both tables"),
    ],
)
def test_tables_that_do_not_match_are_not_joined(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {"classes": ("a",), "points": ONE, "tokens": [[9.0]], "accuracy": [[0.5]]}
    first = OperatingTables(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words):
        first.joined(OperatingTables(**(good | change)))  # type: ignore[arg-type]
