"""What a client says of its time comes to one deadline."""

from __future__ import annotations

import pytest

from laser.server.api.fields import Slo


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
