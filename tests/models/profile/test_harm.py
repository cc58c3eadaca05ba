"""Bounds of harm that hold for all corners at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.profile.certificate import upper_bound
from models.profile.harm import OWN_BOUNDS, least_share, simultaneous
from tests.support.account_profile import AGES, account_profile
from tests.support.analysis_profile import made_profile


@settings(deadline=None)
@given(
    count=st.integers(50, 5000),
    steps=st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=4, max_size=4),
    delta=st.floats(0.01, 0.2),
)
def test_bounds_grow_with_the_corner_and_lie_above_what_was_seen(
    count: int, steps: list[list[int]], delta: float
) -> None:
    harmed = np.minimum(np.add.accumulate(np.add.accumulate(np.array(steps), axis=0), axis=1), count)
    harmed[0, 0] = 0
    harmed = np.maximum.accumulate(np.maximum.accumulate(harmed, axis=0), axis=1)
    bounds = simultaneous(harmed[None], count, delta)[0]
    assert bounds[0, 0] == 0.0
    assert (np.diff(bounds, axis=0) >= 0.0).all()
    assert (np.diff(bounds, axis=1) >= 0.0).all()
    assert (bounds >= harmed / count).all()


def test_a_bound_is_the_exact_one_at_its_part_of_delta() -> None:
    harmed, count, delta = np.array([[[0, 4], [2, 9], [5, 14]]]), 900, 0.06
    bounds = simultaneous(harmed, count, delta)[0]
    assert bounds[2, 0] == pytest.approx(upper_bound(5, count, delta / 2 / 2))  # half of δ for two corners
    assert bounds[2, 1] == pytest.approx(upper_bound(14, count, delta / 2 / 3))  # the rest for three


def test_of_budgets_alone_the_full_thought_takes_no_part_of_delta() -> None:
    harmed, count, delta = np.array([[[0, 4, 9]]]), 900, 0.06
    bounds = simultaneous(harmed, count, delta)[0, 0]
    assert bounds.tolist() == [0.0, upper_bound(4, count, delta / 2), upper_bound(9, count, delta / 2)]
    assert simultaneous(np.array([[[0]]]), count, delta).tolist() == [[[0.0]]]


def test_all_bounds_hold_at_once_as_often_as_promised() -> None:
    """Worlds with known risks: how often is any bound of a sample below what is true?"""
    rng, delta, count = np.random.default_rng(0), 0.2, 400
    by_row, by_column = np.linspace(0.0, 0.1, 8)[:, None], np.array([0.0, 0.01, 0.04])[None, :]
    truth = 1.0 - (1.0 - by_row) * (1.0 - by_column)
    missed = 0
    for _ in range(600):
        # a question is harmed where either of two draws says so: nested, as exits within corners are
        first, second = rng.uniform(size=(2, count, 1, 1))
        harmed = ((first < by_row) | (second < by_column)).sum(axis=0)
        missed += bool((simultaneous(harmed[None], count, delta)[0] < truth - 1e-12).any())
    assert 0 < missed <= delta * 600  # some do miss, so the bounds are not idle


def test_bounds_with_curves_hold_at_once_as_often_as_promised() -> None:
    """The same, where a third draw says whom giving up harms of those that are probed."""
    rng, delta, count = np.random.default_rng(3), 0.2, 400
    by_curve = np.array([0.0, 0.02, 0.05])[:, None, None] * (np.arange(5) > 0)[None, :, None]
    by_row, by_column = np.linspace(0.0, 0.1, 5)[None, :, None], np.array([0.0, 0.03])[None, None, :]
    truth = 1.0 - (1.0 - by_curve) * (1.0 - by_row) * (1.0 - by_column)
    missed = 0
    for _ in range(600):
        draws = rng.uniform(size=(3, count, 1, 1, 1))
        harmed = ((draws[0] < by_curve) | (draws[1] < by_row) | (draws[2] < by_column)).sum(axis=0)
        bounds = simultaneous(harmed, count, delta)
        assert (bounds >= harmed / count).all()
        missed += bool((bounds < truth - 1e-12).any())
    assert 0 < missed <= delta * 600


def test_classes_have_own_bounds_once_each_has_questions_enough() -> None:
    few, many = account_profile(OWN_BOUNDS - 1).harm, account_profile(OWN_BOUNDS).harm
    assert few is not None
    assert many is not None
    assert (few.own, many.own) == (False, True)
    assert (few.bounds == few.bounds[0]).all()
    assert many.bounds[0, 0, 5, 0] < few.bounds[0, 0, 5, 0] < many.bounds[2, 0, 5, 0]


def test_a_share_of_thoughts_that_run_is_told_from_below_and_at_the_next_age_recorded() -> None:
    harm = account_profile(600).harm
    assert harm is not None
    share = harm.share_alive(0, (0, 3, 0), 40)
    assert share == harm.share_alive(2, (0, 3, 0), 64)
    assert share is not None
    assert 0.5 < share < np.exp(-64 / 210)
    assert harm.share_alive(0, (0, 3, 0), max(AGES)) is not None
    assert harm.share_alive(0, (0, 3, 0), max(AGES) + 1) is None
    assert least_share(600, 600, 0.05) == pytest.approx(0.05 ** (1 / 600))
    assert least_share(0, 600, 0.05) == 0.0


def test_without_an_account_there_is_no_charge() -> None:
    assert made_profile().harm is None
    assert made_profile().tables().charges is None
