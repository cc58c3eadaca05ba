"""The index of running thoughts, and the points of a profile with prices: nested, certified, refused and read again."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policies.restricted import with_levers, within_account, within_risk
from models.profile.certificate import certify, fewest_questions
from models.profile.corners import corners
from models.profile.lever import Lever
from models.profile.levers.index import AGES, CONFIDENCES, IndexLimit, PriceIndex
from models.profile.profile import ProfileError, read_profile, write_profile
from models.profile.tables import OperatingPoint
from tests.support.analysis_profile import made_profile
from tests.support.give_up_profile import giving_up_profile
from tests.support.price_index_profile import COUNT, PRICES, made_index, made_tables, price_index_profile

USED = {Lever.PRICE_INDEX}


@st.composite
def indices(draw: st.DrawFn) -> PriceIndex:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.choice([0.0, 1e-4, 3e-4, 1e-3, 5e-3], (2, len(AGES) + 1, len(CONFIDENCES) + 1))
    falling = np.sort(values, axis=2)[:, :, ::-1].tolist()
    return PriceIndex(
        medians=(80.0, 300.0), ages=AGES, confidences=CONFIDENCES,
        values=tuple(tuple(map(tuple, table)) for table in falling),
    )  # fmt: skip


TRIALS = st.lists(st.tuples(st.integers(1, 900), st.floats(0.0, 1.0)), min_size=1, max_size=12)


@given(indices(), st.integers(0, 1), TRIALS, st.lists(st.floats(1e-5, 0.1), min_size=2, max_size=6))
def test_a_higher_price_closes_every_thought_no_later(
    index: PriceIndex, place: int, trials: list[tuple[int, float]], prices: list[float]
) -> None:
    ends = []
    for price in sorted(prices):
        limit = index.limit(place, price)
        closing = (k for k, trial in enumerate(sorted(trials)) if limit.closes(*trial))
        ends.append(next(closing, len(trials)))
    assert ends == sorted(ends, reverse=True)


@given(indices(), st.integers(0, 1), st.integers(0, 900), st.floats(0.0, 1.0), st.floats(1e-5, 0.1))
def test_a_bar_is_cleared_where_the_index_is_at_most_the_price(
    index: PriceIndex, place: int, tokens: int, confidence: float, price: float
) -> None:
    limit = index.limit(place, price)
    assert limit.closes(tokens, confidence) == (index.at(place, tokens, confidence) <= price)
    assert confidence >= limit.worth_below(tokens) or not limit.closes(tokens, confidence)


def test_the_index_is_its_table() -> None:
    index = made_index()
    for tokens, confidence in ((49, 0.1), (50, 0.2), (150, 0.969), (300, 0.99), (1000, 1.0)):
        row = index.values[1][bisect_right(AGES, tokens / 200.0)]
        assert index.at(1, tokens, confidence) == row[sum(confidence >= edge for edge in CONFIDENCES)]


def test_senseless_indices_and_points_are_refused() -> None:
    index = made_index()
    with pytest.raises(ValueError, match="values rise with confidence"):
        replace(index, values=tuple(tuple(row[::-1] for row in table) for table in index.values))
    with pytest.raises(ValueError, match=r"ages are .*, must rise"):
        replace(index, ages=AGES[::-1])
    with pytest.raises(ValueError, match="values must have shape"):
        replace(index, medians=(1.0, 2.0))
    with pytest.raises(ValueError, match="bars has 1 entries, must have 2"):
        IndexLimit(price=0.1, median=10.0, ages=(1.0,), bars=(0.5,))
    with pytest.raises(ValueError, match=r"threshold is 0\.9 and price 0\.1, must be one of them"):
        OperatingPoint(threshold=0.9, budget=None, price=0.1)
    with pytest.raises(ValueError, match=r"prices are .*, must be above 0 and rise"):
        replace(made_tables(), prices=PRICES[::-1])


# --- the profile


def test_prices_stand_in_for_thresholds_only_where_a_policy_wants_them() -> None:
    plain = price_index_profile()
    assert plain.points() == made_profile(certified_to=5).points()
    used = with_levers(plain, USED)
    assert used.index is not None
    assert {point.price for point in used.points()} == {None, *PRICES[:4]}  # 20 of 600 harmed are too many
    assert all(point.threshold is None for point in used.points())
    assert used.points()[0] == OperatingPoint(threshold=None, budget=None)
    tables = used.tables()
    assert tables.index == used.index.index
    for k, point in enumerate(tables.points):
        i = 0 if point.price is None else 1 + PRICES.index(point.price)
        j = used.budgets.index(point.budget)
        assert tables.tokens[:, k].tolist() == [used.index.tokens[d][i][j] for d in range(3)]
    assert tables.at([0, 3]).index == tables.index


def test_prices_are_certified_as_thresholds_are() -> None:
    tables = made_tables(5)
    assert tables.certificate == certify(tables.harmed, COUNT, epsilon=0.05, delta=0.05)
    assert tables.points() == [
        (i, j) for i, row in enumerate(tables.certificate.certified) for j, safe in enumerate(row) if safe
    ]
    assert 0 < max(i for i, _ in tables.points()) < len(PRICES)


def test_no_corner_covers_thresholds_where_prices_are_in_use() -> None:
    used = with_levers(price_index_profile(), USED)
    assert all(point.threshold is None and point.price is None for point in corners(used))


def test_a_corner_covers_lower_prices_alone() -> None:
    tables = with_levers(price_index_profile(), USED).tables()
    inside = tables.inside()
    for corner, within in np.ndindex(inside.shape):
        a, b = tables.points[corner], tables.points[within]
        assert inside[corner, within] == (
            (b.price or 0.0) <= (a.price or 0.0) and (b.budget or np.inf) >= (a.budget or np.inf)
        )


def test_a_profile_with_an_index_comes_back_from_its_file(tmp_path: Path) -> None:
    made = with_levers(price_index_profile(), USED)
    write_profile(tmp_path / "profile.json", made)
    assert read_profile(tmp_path / "profile.json") == replace(made, levers=frozenset())
    write_profile(tmp_path / "plain.json", made_profile())
    assert '"index"' not in (tmp_path / "plain.json").read_text()


def test_too_few_questions_are_refused() -> None:
    needed = fewest_questions(0.05, 0.05, 5)
    short = made_tables(0, count=needed - 1)
    assert short.refused is not None
    assert f"must be at least {needed}" in short.refused
    assert made_tables(0, count=needed).refused is None
    with pytest.raises(ProfileError, match=f"certifies no price: {needed - 1} questions"):
        with_levers(price_index_profile(0, count=needed - 1), USED)
    with pytest.raises(ProfileError, match="certifies no price: 7 hard questions fit"):
        with_levers(price_index_profile(unfit="7 hard questions fit"), USED)
    tight = within_risk(price_index_profile(), 0.02)
    assert {point.price for point in with_levers(tight, USED).points()} == {None, *PRICES[:1]}


def test_what_prices_cannot_stand_beside_is_refused_by_name() -> None:
    with pytest.raises(ProfileError, match="price_index is True, but the profile has no index"):
        with_levers(made_profile(), USED)
    with pytest.raises(ProfileError, match="price_index is True beside risk_peak"):
        with_levers(within_account(price_index_profile(), 0.02, 0.1), USED)
    both = replace(giving_up_profile(), index=made_tables())
    with pytest.raises(ProfileError, match="price_index and give_up are both True"):
        with_levers(both, {Lever.PRICE_INDEX, Lever.GIVE_UP})
    with pytest.raises(ValueError, match="levers has price-index, must not"):
        replace(made_profile(), levers=frozenset(USED))
