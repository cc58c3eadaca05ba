"""What a request still needs, by its class, its limits, its prompt and what it has had."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import Limits
from controller.serving.ordering.remaining import LEAST, RowForecast, mean_excess
from models.profile.profile import profile_of, read_profile
from models.reasoner import bundled_model


@pytest.fixture(scope="module")
def forecast() -> RowForecast:
    return RowForecast.of(read_profile(profile_of(bundled_model())))


@pytest.mark.parametrize(("attained", "spread"), [(0.0, 0.5), (100.0, 0.5), (300.0, 0.5), (600.0, 0.35)])
def test_the_mean_excess_is_that_of_a_drawn_sample(attained: float, spread: float) -> None:
    drawn = np.random.default_rng(0).lognormal(math.log(200.0) - spread**2 / 2.0, spread, 4_000_000)
    longer = drawn[drawn > attained]
    assert mean_excess(200.0, spread, attained) == pytest.approx(float(longer.mean()) - attained, rel=0.03)


@given(st.floats(1.0, 1e5), st.floats(0.0, 2.0), st.floats(0.0, 1e7))
def test_the_mean_excess_is_a_number_wherever(mean: float, spread: float, attained: float) -> None:
    found = mean_excess(mean, spread, attained)
    assert math.isfinite(found)
    assert found >= -1e-6 * attained


def test_without_spread_what_is_left_is_the_rest() -> None:
    assert [mean_excess(200.0, 0.0, attained) for attained in (0.0, 50.0, 200.0, 300.0)] == [200.0, 150.0, 0.0, 0.0]


def test_laxer_limits_easier_classes_and_shorter_prompts_foretell_fewer_rows(forecast: RowForecast) -> None:
    full, cut = Limits(), Limits(threshold=0.8)
    assert forecast.rows("hard", cut) < forecast.rows("hard", full)
    assert forecast.rows("easy", cut) < forecast.rows(None, cut) < forecast.rows("hard", cut)
    assert forecast.rows("hard", cut, length=200.0) < forecast.rows("hard", cut, length=400.0)
    assert forecast.rows("hard", Limits(budget=140)) < forecast.rows("hard", full)


def test_a_class_is_foretold_its_own_mean_at_each_point_of_the_table(forecast: RowForecast) -> None:
    profile = read_profile(profile_of(bundled_model()))
    for d, name in enumerate(profile.classes):
        for i, threshold in enumerate(profile.thresholds):
            for j, budget in enumerate(profile.budgets):
                limits = Limits(threshold=threshold, budget=budget)
                assert forecast.rows(name, limits) == pytest.approx(profile.tokens[d][i][j])


def test_between_two_points_the_stricter_one_counts(forecast: RowForecast) -> None:
    assert forecast.rows("easy", Limits(threshold=0.82)) == forecast.rows("easy", Limits(threshold=0.85))
    assert forecast.rows("easy", Limits(threshold=1.01)) == forecast.rows("easy", Limits())


@given(st.floats(0.0, 1e6))
def test_a_request_that_goes_on_needs_at_least_a_row(forecast: RowForecast, attained: float) -> None:
    assert forecast.rows("easy", Limits(), attained=attained) >= LEAST


@given(st.floats(0.0, 1e4), st.floats(0.0, 1e3), st.sampled_from(["easy", "hard", None]))
def test_no_more_rows_are_foretold_than_the_budget_leaves(
    forecast: RowForecast, length: float, attained: float, name: str | None
) -> None:
    """Whether the tables have the budget, with their own mean, or only a longer one."""
    for budget in (*(one for one in forecast.budgets if one is not None), 99):
        found = forecast.rows(name, Limits(budget=budget), length=length, attained=attained)
        own = forecast.rows(name, Limits(budget=budget)) if budget in forecast.budgets else 0.0
        assert found <= max(LEAST, max(own, budget + forecast.answer_rows) - attained)


def test_a_thought_of_next_to_nothing_is_foretold_a_row(forecast: RowForecast) -> None:
    assert forecast.rows("easy", Limits(), length=5e-324, attained=1.0) == LEAST


def test_a_budget_of_the_tables_foretells_no_more_than_the_next_shorter_one_and_a_row() -> None:
    forecast = RowForecast(
        classes=("easy",), thresholds=(None,), budgets=(None, 100), curves=(None,), mean=((((200.0, 110.0),),) * 2,),
        spread=(((0.0, 0.0),),) * 2, usual_rows=110.0, answer_rows=10.0,
    )  # fmt: skip
    assert [forecast.rows("easy", Limits(budget=budget), length=600.0) for budget in (100, 99)] == [110.0, 109.0]


def test_a_usual_request_is_a_mean_one_at_the_cheapest_certified_point(forecast: RowForecast) -> None:
    profile = read_profile(profile_of(bundled_model()))
    cheapest = min(
        sum(count * row[i][j] for count, row in zip(profile.counts, profile.tokens, strict=True)) / sum(profile.counts)
        for i in range(len(profile.thresholds))
        for j in range(len(profile.budgets))
        if profile.certificate.certified[i][j]
    )
    assert forecast.usual_rows == pytest.approx(cheapest)
