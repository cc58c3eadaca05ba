"""The index of running thoughts, fitted and replayed: optimal stopping, the cost of exits, and what may go wrong."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.levers.price_index import constants, replies, rows_at
from engine.base import ProbeSpec
from experiments.calibration.grid import grid
from experiments.calibration.looks import CertificateLook
from experiments.calibration.pricing.index import FEWEST_FITTED, PRICES, fit, fitting_half, price_grid, tabulated
from experiments.calibration.pricing.stopping import (
    ProbedPath,
    StoppingChain,
    ended_by,
    fitted_index,
    gain,
    stopping_chain,
)
from experiments.calibration.profile import Levels
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.sweeps import THRESHOLDS
from models.profile.certificate import certify
from models.profile.levers.index import AGES, CONFIDENCES, IndexLimit
from models.score import Score
from tests.experiments.calibration.test_giving_up import asked, thought

SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}))
NAMES = ("easy", "medium", "hard")


@st.composite
def chains(draw: st.DrawFn) -> StoppingChain:
    rng, cells = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 5))
    onward = rng.random((cells, cells)) * (rng.random((cells, cells)) < 0.6)
    onward *= 0.9 / np.maximum(0.9, onward.sum(axis=1, keepdims=True))
    return StoppingChain(
        right=rng.random(cells), onward=onward, ended=rng.random(cells), rows=rng.uniform(1.0, 60.0, cells)
    )


def best_rate(chain: StoppingChain, start: int) -> float:
    """The index by its definition: of all sets of cells to stop in later, the best gain over rows; 0 if none gains."""
    count, best = len(chain.right), 0.0
    for stops in product((False, True), repeat=count):
        goes = np.where(np.array(stops)[:, None], 0.0, chain.onward)
        ends = 1.0 - chain.onward.sum(axis=1)
        inverse = np.linalg.inv(np.eye(count) - goes)
        right = inverse @ np.where(stops, chain.right, ends * chain.ended)
        rows = inverse @ np.where(stops, 0.0, chain.rows)
        gained = chain.onward[start] @ right + ends[start] * chain.ended[start] - chain.right[start]
        best = max(best, float(gained / (chain.rows[start] + chain.onward[start] @ rows)))
    return best


@settings(deadline=None, max_examples=60)
@given(chains())
def test_the_index_is_the_best_gain_a_row_over_all_ways_to_stop(chain: StoppingChain) -> None:
    prices = np.geomspace(1e-5, 1.0, 200)
    index = chain.index(prices)
    for cell in range(len(chain.right)):
        exact = best_rate(chain, cell)
        above = prices[prices > index[cell] + 1e-15]
        assert index[cell] <= exact + 1e-9
        assert len(above) == 0 or exact <= above[0] + 1e-9


def path(place: int, *trials: tuple[float, float, bool, int], right: bool, rows: int) -> ProbedPath:
    ages, confidences, rights, costs = zip(*trials, strict=True)
    return ProbedPath(place=place, ages=ages, confidences=confidences, right=(*rights, right), rows=(*costs, rows))


def test_the_chain_counts_what_it_saw() -> None:
    one = path(0, (0.1, 0.1, False, 20), (0.3, 0.98, True, 60), right=True, rows=100)
    chain = stopping_chain([one, one], 1e-9)
    first, second = 0, (len(CONFIDENCES) + 1) + bisect_right(CONFIDENCES, 0.98)
    assert chain.onward[first, second] == pytest.approx(1.0, abs=1e-3)
    assert (chain.rows[first], chain.rows[second]) == (pytest.approx(40.0), pytest.approx(40.0))
    assert (chain.right[first], chain.right[second]) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0))
    assert chain.ended[second] == pytest.approx(1.0)


def drawn_paths(seed: int, count: int) -> list[ProbedPath]:
    """Thoughts whose trials become surer, and are right as often as they say."""
    rng, found = np.random.default_rng(seed), []
    for n in range(count):
        trials, at, sure = [], 0.0, float(rng.uniform(0.0, 0.5))
        for _ in range(int(rng.integers(1, 9))):
            at, sure = at + 0.2, min(1.0, sure + float(rng.uniform(0.0, 0.3)))
            trials.append((at, sure, bool(rng.random() < sure), round(100 * at)))
        found.append(path(n % 2, *trials, right=bool(rng.random() < 0.95), rows=round(100 * at) + 30))
    return found


def test_where_more_thought_wins_the_index_is_high_and_where_it_is_sure_low() -> None:
    paths = drawn_paths(1, 600)
    index = fitted_index(paths, (100.0, 100.0), 100.0, 5.0)
    assert index.at(0, 10, 0.05) > index.at(0, 10, 0.95) >= index.at(0, 10, 0.995)
    prices = [price / 100.0 for price in PRICES]
    never = fitted_index([replace(one, right=(*one.right[:-1], False)) for one in paths], (100.0, 100.0), 100.0, 5.0)
    assert gain(paths, index, prices) > gain(paths, never, prices)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(1.0, 80.0))
def test_whatever_is_fitted_exits_nest(seed: int, pseudo: float) -> None:
    paths = drawn_paths(seed, 40)
    index = fitted_index(paths, (100.0, 100.0), 100.0, pseudo)
    prices = sorted(np.random.default_rng(seed).uniform(1e-6, 0.05, 6).tolist())
    for one in paths:
        places = ended_by(one, index, prices)
        assert places == sorted(places, reverse=True)


def limit(price: float, *bars: float | None) -> IndexLimit:
    return IndexLimit(price=price, median=100.0, ages=(0.5,), bars=bars)


def test_a_thought_ends_at_the_first_trial_that_clears_the_bar_of_its_age() -> None:
    one = thought(asked(20, 0.8, right=True), asked(60, 0.8, right=False), asked(90, 0.9, right=True))
    found = price_grid([one], {}, [[limit(0.001, 0.9, None), limit(0.01, 0.9, 0.75)]], (), SPEC)
    assert found.right[0, :, 0].tolist() == [True, True, False]
    # the first probe gives up at its second token, .8^(2/4) < .9, so 4 rows; the second ends whole
    assert found.tokens[0, 2, 0] == 60 + 3 + 5 + 2 + 4
    assert found.harmed[0, :, 0].tolist() == [False, False, True]
    assert found.ends[0].tolist() == [200, 200, 60]


TRIALS = st.lists(st.tuples(st.floats(0.05, 0.999), st.booleans()), min_size=1, max_size=7)


def traced(answers: Sequence[tuple[float, bool]]) -> ThoughtTrace:
    return thought(*(asked(10 + 18 * k, sure, right=right) for k, (sure, right) in enumerate(answers)))


@given(TRIALS, st.floats(0.1, 1.0))
def test_one_bar_for_all_ages_is_a_threshold(answers: list[tuple[float, bool]], bar: float) -> None:
    one = traced(answers)
    closings = {(0, 60): ClosedReply(number=0, budget=60, right=False, tokens=4)}
    priced = price_grid([one], closings, [[limit(0.001, bar, bar)]], (60,), SPEC)
    plain = grid([one], closings, (bar,), (60,), SPEC)
    for name in ("right", "tokens", "steps", "harmed", "ends"):
        assert (getattr(priced, name) == getattr(plain, name)).all(), name


@given(TRIALS, st.lists(st.sampled_from([None, 0.3, 0.6, 0.9]), min_size=6, max_size=6), st.data())
def test_whatever_price_is_in_force_at_each_trial_the_corner_covers_it(
    answers: list[tuple[float, bool]], drawn: list[float | None], data: st.DataObject
) -> None:
    """Bars fall with the price, and every trial may meet another price up to the corner's."""

    def lower(a: float | None, b: float | None) -> float | None:
        return b if a is None else a if b is None else min(a, b)

    bars = [drawn[:2], [lower(a, b) for a, b in zip(drawn[:2], drawn[2:4], strict=True)]]
    bars.append([lower(a, b) for a, b in zip(bars[-1], drawn[4:], strict=True)])
    limits = [limit(0.001 * (k + 1), *mine) for k, mine in enumerate(bars)]
    one = traced(answers)
    harmed = price_grid([one], {}, [limits], (), SPEC).harmed[0, :, 0]
    highest = 0
    for probe in one.probes:
        k = data.draw(st.integers(0, 2))
        highest = max(highest, k)
        if limits[k].closes(probe.thought_tokens, probe.confidence):
            assert probe.right or harmed[1 + highest]
            break


def many(count: int, seed: int) -> list[ThoughtTrace]:
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        sure, probes = float(rng.uniform(0.1, 0.6)), []
        for k in range(int(rng.integers(1, 7))):
            sure = min(0.999, sure + float(rng.uniform(0.0, 0.25)))
            probes.append(asked(12 + 20 * k, sure, right=bool(rng.random() < sure**0.2)))
        found.append(thought(*probes, number=n, length=20 + 20 * len(probes)))
    return found


def test_certified_is_on_questions_that_the_index_was_not_fitted_on() -> None:
    traces = many(900, 4)
    member = np.array([[n % 3 == d for n in range(900)] for d in range(3)])
    fitting = fitting_half(range(900))
    assert len(fitting) == 450
    fitted = fit(traces, member, fitting, NAMES, SPEC)
    certifying = set(range(900)) - fitting
    tables = tabulated(
        traces, {}, SPEC, fitted=fitted, budgets=(), member=member, certifying=certifying, epsilon=0.1, delta=0.05
    )
    assert (tables.fitted, tables.count, tables.refused) == (450, 450, None)
    by_hand = [0] * (1 + len(PRICES))
    for n in certifying:
        for k, price in enumerate(tables.prices, start=1):
            wrong = [
                not probe.right
                for probe in traces[n].probes
                if tables.index.at(n % 3, probe.thought_tokens, probe.confidence) <= price
            ]
            by_hand[k] += any(wrong)
    assert [row[0] for row in tables.harmed] == by_hand
    assert tables.certificate == certify(tables.harmed, 450, epsilon=0.1, delta=0.05)
    # answers of certifying questions change nothing that was fitted
    others = [
        one if one.number in fitting else replace(one, probes=tuple(replace(p, right=False) for p in one.probes))
        for one in traces
    ]
    assert fit(others, member, fitting, NAMES, SPEC) == fitted


def test_too_few_questions_are_refused() -> None:
    traces = many(240, 5)
    member = np.array([[n % 3 == d for n in range(240)] for d in range(3)])
    fitting = fitting_half(range(240))
    fitted = fit(traces, member, fitting, NAMES, SPEC)
    tables = tabulated(
        traces, {}, SPEC, fitted=fitted, budgets=(), member=member, certifying=set(range(240)) - fitting, epsilon=0.1,
        delta=0.05,
    )  # fmt: skip
    assert tables.refused is not None
    assert f"must be at least {FEWEST_FITTED} of each class" in tables.refused
    assert tables.points() == [(0, 0)]
    assert tables.certified_at(0.5, 0.05).refused == tables.refused


def test_a_class_without_a_question_breaks_nothing() -> None:
    traces = many(6, 7)
    member = np.array([[True] * 6, [False] * 6, [False] * 6])
    fitted = fit(traces, member, {0, 1}, NAMES, SPEC)
    tables = tabulated(
        traces, {}, SPEC, fitted=fitted, budgets=(), member=member, certifying={2, 3, 4, 5}, epsilon=0.1, delta=0.05
    )
    assert tables.refused == "2 easy, 0 medium, 0 hard questions fit, must be at least 50 of each class"


def test_another_ladder_of_prices_is_another_look() -> None:
    look = CertificateLook(questions=("a",), budgets=(60,), score=Score.JOINT, levels=Levels())
    assert len({look.key, replace(look, prices=PRICES).key, replace(look, prices=(*PRICES, *AGES)).key}) == 3


def test_the_benchmark_replays_as_calibration_does() -> None:
    traces = many(40, 6)
    found = replies(traces, [constants()] * 40, SPEC)
    plain = grid(traces, {}, THRESHOLDS, (), SPEC)
    assert (found.right == plain.right[:, :, 0]).all()
    assert (found.rows == plain.tokens[:, :, 0]).all()
    assert (found.harmed == plain.harmed[:, :, 0]).all()
    limits = [[limit(0.001, 0.9, None), limit(0.01, 0.8, 0.6)]] * 40
    found = replies(traces, [[None, *(one.bar for one in mine)] for mine in limits], SPEC)
    priced = price_grid(traces, {}, limits, (), SPEC)
    assert (found.rows == priced.tokens[:, :, 0]).all()
    assert (found.harmed == priced.harmed[:, :, 0]).all()


def test_rows_at_an_accuracy_are_those_of_the_best_mixture() -> None:
    accuracy, rows = np.array([0.9, 0.8, 0.7]), np.array([100.0, 80.0, 40.0])
    assert rows_at(accuracy, rows, 0.8) == pytest.approx(70.0)  # between the outer two
    assert rows_at(accuracy, rows, 0.95) is None
