"""Contests of policies made by hand."""

from __future__ import annotations

from models.profile.contest import CONSTANT, FULL, LOAD_AWARE, LoadContest, PlayedPolicy, PolicyContest


def contest(*gains: float, threshold: float | None = 0.95, budget: int | None = None) -> PolicyContest:
    """A load for each gain of load-aware over the safe constant; all intervals are 0.01 wide to each side."""
    loads = (0.5, 0.9, 1.2)[: len(gains)]
    return PolicyContest(
        seed=0,
        requests=600,
        latency_weight=0.01,
        threshold=threshold,
        budget=budget,
        loads=tuple(
            LoadContest(
                load=load,
                rate=10.0 * load,
                played=(
                    _played(FULL, None, None, 0.5),
                    _played(CONSTANT, threshold, budget, 0.4),
                    _played(LOAD_AWARE, None, None, 0.3),
                    _played("threshold 0.90", 0.9, None, 0.2, certified=False),
                ),
                gain=gain,
                low=gain - 0.01,
                high=gain + 0.01,
            )
            for load, gain in zip(loads, gains, strict=True)
        ),
    )


def _played(
    name: str, threshold: float | None, budget: int | None, latency_s: float, *, certified: bool = True
) -> PlayedPolicy:
    return PlayedPolicy(
        name=name,
        threshold=threshold,
        budget=budget,
        certified=certified,
        latency_s=latency_s,
        p95_s=2.0 * latency_s,
        accuracy=0.9,
        tokens=200.0,
    )
