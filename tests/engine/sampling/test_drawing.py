"""Draws are those of a plain sampler in float64, from which they differ in time alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.drawing import draw
from engine.sampling.nucleus import SAMPLE
from engine.sampling.settings import Sampling
from engine.sampling.weights import FEW, SLACK, Weights, block_sums, likeliest
from tests.support.engine_requests import search


def plainly(logits: npt.NDArray[np.float32], sampling: Sampling, position: int) -> int:
    """The definition, over the whole vocabulary in float64."""
    scaled = logits.astype(np.float64)
    with np.errstate(over="ignore"):
        weights = np.exp((scaled - scaled.max()) / sampling.temperature)
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k:
        weights[order[sampling.top_k :]] = 0.0
    weights[weights < sampling.min_p] = 0.0
    weights /= weights.sum()
    before = np.cumsum(weights[order]) - weights[order]
    weights[order[before >= sampling.top_p]] = 0.0
    at = np.random.Generator(np.random.Philox(key=sampling.seed % 2**64, counter=position)).random()
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, at * cumulative[-1], side="right"))


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([1e-310, 1e-4, 0.3, 0.6, 1.0, 1.3, 5.0]),
    top_k=st.sampled_from([0, 0, 1, 20, 3000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 1e-9]),
    min_p=st.sampled_from([0.0, 0.0, 0.05, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)


@search(150)
@given(
    sampling=SAMPLINGS,
    size=st.sampled_from([1, 7, 128, FEW, FEW + 1, 9000, 20_011]),
    spread=st.sampled_from([0.3, 2.0, 8.0]),
    forbidden=st.booleans(),
)
def test_any_draw_is_that_of_the_plain_sampler(sampling: Sampling, size: int, spread: float, forbidden: bool) -> None:
    rng = np.random.default_rng(sampling.seed)
    logits = rng.normal(5.0, spread, size).astype(np.float32)
    banned = frozenset(rng.integers(0, size, size // 3).tolist()) if forbidden and size > 7 else frozenset[int]()
    left = logits.copy()
    left[list(banned)] = -np.inf
    for position in range(4):
        found = draw(logits, sampling, position, banned)
        assert found == plainly(left, sampling, position)
        assert found not in banned


def misleading(name: str) -> npt.NDArray[np.float32]:
    """Logits of which every second one, all that is sampled of so many, says nothing of the others."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 2.0, 2 * SAMPLE).astype(np.float32)
    if name == "nothing sampled is possible":
        logits[::2] = -np.inf
    elif name == "nothing sampled is likely":
        logits[::2] -= 30.0
    elif name == "only what is sampled is likely":
        logits[1::2] -= 30.0
    elif name == "few are possible":
        logits[: 2 * SAMPLE - 20] = -np.inf
    elif name == "three heights":
        logits = rng.integers(0, 3, logits.size).astype(np.float32)
    elif name == "one height, but for next to nothing":
        logits = np.where(logits > 0.0, np.float32(0.0), np.float32(-1e-44))
    return logits


@pytest.mark.parametrize(
    "name",
    [
        "nothing sampled is possible",
        "nothing sampled is likely",
        "only what is sampled is likely",
        "few are possible",
        "three heights",
        "one height, but for next to nothing",
    ],
)
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.95, 1.0 - 1e-12])
def test_a_nucleus_is_the_same_whatever_a_sample_suggests(name: str, top_p: float) -> None:
    logits, sampling = misleading(name), Sampling(temperature=0.7, top_p=top_p)
    for position in range(6):
        assert draw(logits, sampling, position) == plainly(logits, sampling, position)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.5, 2.0, 5.0])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.6, top_p=0.95),
        Sampling(temperature=0.6, top_k=20, top_p=0.95),
        Sampling(temperature=1.0, min_p=0.05, top_p=0.9),
    ],
)
def test_a_vocabulary_of_150_000_draws_the_tokens_of_the_plain_sampler(sampling: Sampling, spread: float) -> None:
    """Where float32 cannot tell, float64 decides: in flat distributions, a token has a share of 7e-6."""
    logits = np.random.default_rng(1).normal(0.0, spread, 151_936).astype(np.float32)
    for position in range(40):
        assert draw(logits, sampling, position) == plainly(logits, sampling, position)


@pytest.mark.parametrize(
    ("spread", "temperature", "seed"), [(3.0, 0.6, 0), (3.0, 0.9, 58), (5.0, 0.9, 2), (5.0, 0.9, 4), (6.0, 1.0, 0)]
)
def test_a_share_in_float32_is_off_by_less_than_is_allowed_for(spread: float, temperature: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(20.0, spread, 150_000).astype(np.float32)
    weights = Weights(scores, temperature)
    total = weights.exact.sum()
    ordered = np.sort(scores)[::-1]
    masses = np.cumsum(weights.of(ordered)) / total
    for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        above = scores > ordered[np.searchsorted(masses, share)]
        found = block_sums(weights.coarse, above).sum() / weights.total
        assert abs(found - weights.exact[above].sum() / total) < SLACK


def test_of_two_alike_the_lower_index_is_likelier_however_many_there_are() -> None:
    for size in (10, 10_000):
        logits = np.zeros(size, np.float32)
        assert likeliest(logits, 3).tolist() == [0, 1, 2]
        logits[[5, 7]] = 1.0
        assert likeliest(logits, 3).tolist() == [0, 5, 7]
        logits[8:] = -np.inf
        assert likeliest(logits, 9).tolist() == list(range(8))
        drawn = {draw(logits, Sampling(temperature=1.0, top_k=2), position) for position in range(200)}
        assert drawn == {5, 7}
    flat, sampling = np.zeros(10_000, np.float32), Sampling(temperature=1.0, top_p=0.5)
    assert {draw(flat, sampling, position) < 5000 for position in range(100)} == {True}
    assert {draw(flat, sampling, position) < 4000 for position in range(100)} == {True, False}


def test_another_draw_at_a_position_is_independent_of_the_first() -> None:
    logits, sampling = np.zeros(1000, np.float32), Sampling(temperature=1.0, seed=1)
    first = [draw(logits, sampling, position) for position in range(50)]
    assert first != [draw(logits, sampling, position, again=True) for position in range(50)]
    assert first != [draw(logits, replace(sampling, seed=2), position) for position in range(50)]
