"""benchmarks/burst.py in virtual time: README's first figure."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.burst import Traffic, simulate_and_watch, summary


@pytest.mark.slow
def test_thresholds_fall_in_a_simulated_burst_and_rise_again() -> None:
    traffic = Traffic(calm=4.0, factor=5.0, calm_s=6.0, burst_s=6.0)
    run = simulate_and_watch(None, traffic, np.random.default_rng(0))
    at = {
        phase: next(one.controller["limits"]["medium"]["threshold"] for one in run.samples if one.at_s >= at_s)
        for phase, at_s in (("before", 5.5), ("burst", 10.0), ("after", 17.0))
    }
    assert at["burst"] < at["before"] == at["after"]
    found = summary(run, traffic)
    assert found["failed"] == 0
    assert found["burst"]["mean_rows"] < found["before"]["mean_rows"]
