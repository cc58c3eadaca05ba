"""What a client says of its time comes to one deadline."""

from __future__ import annotations

import pytest

from laser.server.api.errors import BadRequest
from laser.server.api.fields import LEAST_MS, MOST_MS, Slo, read_slo
from laser.server.api.headers import RequestHeader


@pytest.mark.parametrize(
    ("slo", "deadline_ms", "by_s"),
    [
        (Slo(), None, None),
        (Slo(), 700, 0.7),
        (Slo(deadline_s=3.0), 5000, 3.0),
        (Slo(ttft_s=1.0, tpot_s=0.02), None, 3.0),
        (Slo(ttft_s=1.0, tpot_s=0.02, deadline_s=5.0), None, 3.0),
        (Slo(ttft_s=1.0, tpot_s=0.02, deadline_s=2.0), 4000, 2.0),
        (Slo(tpot_s=0.02), None, None),  # nothing says when the first token is to come
        (Slo(tpot_s=0.02, deadline_s=5.0), None, 5.0),
    ],
)
def test_the_earliest_bound_wins(slo: Slo, deadline_ms: int | None, by_s: float | None) -> None:
    assert slo.by_s(100, deadline_ms) == by_s


@pytest.mark.parametrize("header", LEAST_MS)
@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "1e99", "5e-324", "0.0009"])
def test_an_objective_that_cannot_be_is_refused_with_its_limits(header: RequestHeader, value: str) -> None:
    with pytest.raises(BadRequest, match=f"^{header} is '{value}', must be a number of at least {LEAST_MS[header]} "):
        read_slo({header: value})


@pytest.mark.parametrize("header", LEAST_MS)
def test_the_limits_of_objectives_are_taken(header: RequestHeader) -> None:
    for value in (LEAST_MS[header], MOST_MS):
        slo = read_slo({header: str(value)})
        assert value / 1e3 in (slo.ttft_s, slo.tpot_s, slo.deadline_s)
