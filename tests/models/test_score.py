"""Confidence of an answer, and the bound by which a probe gives up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base import ProbeSpec, Request, Sampling
from models.score import Score

LOG_PROBS = st.lists(st.floats(-20.0, 0.0), max_size=8)


def test_confidence_of_a_known_answer() -> None:
    log_probs = [math.log(0.5), math.log(0.8), math.log(0.9)]
    assert Score.GEOMETRIC_MEAN.confidence(log_probs) == pytest.approx(0.36 ** (1 / 3))
    assert Score.JOINT.confidence(log_probs) == pytest.approx(0.36)
    assert Score.MINIMUM.confidence(log_probs) == pytest.approx(0.5)


@pytest.mark.parametrize("score", list(Score))
def test_an_empty_answer_has_no_confidence(score: Score) -> None:
    assert score.confidence([]) == 0.0


@pytest.mark.parametrize("score", list(Score))
@given(begun=LOG_PROBS, rest=LOG_PROBS)
def test_no_answer_ends_above_its_upper_bound(score: Score, begun: list[float], rest: list[float]) -> None:
    """However an answer goes on, the bound worked out before holds: giving up can never miss a confident answer."""
    whole = begun + rest
    for longest in range(len(whole), len(whole) + 3):
        if longest:
            assert score.confidence(whole) <= score.upper_bound(begun, longest) * (1 + 1e-12)


@pytest.mark.parametrize("score", list(Score))
@given(begun=LOG_PROBS, more=st.integers(1, 5))
def test_the_upper_bound_is_reached_by_certain_tokens(score: Score, begun: list[float], more: int) -> None:
    longest = len(begun) + more
    assert score.upper_bound(begun, longest) == pytest.approx(score.confidence(begun + [0.0] * more))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": 101.0}, "temperature is 101.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)
def test_sampling_out_of_range_is_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Sampling(**options)  # type: ignore[arg-type]


def test_requests_and_probes_need_tokens() -> None:
    with pytest.raises(ValueError, match="prompt has 0 tokens"):
        Request(prompt=(), max_new_tokens=1)
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        Request(prompt=(1,), max_new_tokens=0)
    with pytest.raises(ValueError, match="probe_room is -1"):
        Request(prompt=(1,), max_new_tokens=1, probe_room=-1)
    with pytest.raises(ValueError, match="suffix has 0 tokens"):
        ProbeSpec(suffix=(), max_answer_tokens=1, answer_stops=frozenset())
    with pytest.raises(ValueError, match="max_answer_tokens is 0"):
        ProbeSpec(suffix=(1,), max_answer_tokens=0, answer_stops=frozenset())
