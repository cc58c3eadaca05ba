"""What a run of some length does not see of its workload is told by name: a burst, a step, a crowd, a day."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.workloads import Diurnal, FlashCrowd, Gamma, Mmpp, Poisson, Step, Workload, unseen


@pytest.mark.parametrize(
    ("workload", "told"),
    [
        (Step(rate=1.0, factor=3.0, at_s=60.0), "the step does not come: the run takes 60 s, and at_s is 60 s"),
        (FlashCrowd(rate=1.0, peak=3.0, at_s=90.0), "the crowd does not come: the run takes 60 s, and at_s is 90 s"),
        (Diurnal(rate=1.0), "the day does not come round: the run takes 60 s, and period_s is 86400 s"),
        (Step(rate=1.0, factor=3.0, at_s=59.0), None),
        (FlashCrowd(rate=1.0, peak=3.0, at_s=10.0), None),
        (Diurnal(rate=1.0, period_s=60.0), None),
        (Poisson(rate=1.0), None),
        (Gamma(rate=1.0, cv=4.0), None),
        (Mmpp(rate=1.0, burst=1.0, calm_s=1e6), None),  # has none to miss
    ],
)
def test_what_does_not_come_is_named(workload: Workload, told: str | None) -> None:
    found = unseen(workload, 60.0, np.random.default_rng(0))
    assert found is None if told is None else str(found).startswith(told)


def test_a_burst_is_missed_by_the_draws_that_have_none() -> None:
    workload = Mmpp(rate=20.0, burst=40.0, calm_s=60.0, burst_s=20.0)
    missed = [unseen(workload, 60.0, np.random.default_rng(seed)) for seed in range(40)]
    assert 5 < sum(one is not None for one in missed) < 25  # of 40, 3/4 · e⁻¹ on average
    assert str(next(filter(None, missed))).startswith("no burst comes: the run takes 60 s, and a calm 60 s in the mean")
    counts = [len(workload.arrivals(60.0, np.random.default_rng(seed))) for seed in range(40)]
    calm = 20.0 * (60.0 + 20.0) / (60.0 + 40.0 * 20.0) * 60.0
    quiet = [count for count, one in zip(counts, missed, strict=True) if one is not None]
    assert max(quiet) < 2.0 * calm  # the same draws, and no more than a calm brings
