"""What a run of some length does not see of a workload: a burst, a step, a whole day, arrivals that a file lacks."""

from __future__ import annotations

import numpy as np

from experiments.workloads.modulated import Diurnal, FlashCrowd, Mmpp, Step
from experiments.workloads.recorded import too_short
from experiments.workloads.workload import Workload


def unseen(workload: Workload, duration_s: float, rng: np.random.Generator) -> str | None:
    """Returns what the arrivals that `rng` draws miss of the workload, and what to change; None: nothing.

    Raises WorkloadError if the workload's file is invalid.
    """
    run = f"the run takes {duration_s:g} s"
    match workload:
        case Mmpp() if workload.burst > 1.0 and not workload.bursts(duration_s, rng):
            return (
                f"no burst comes: {run}, and a calm {workload.calm_s:g} s in the mean; take a longer run, another seed "
                "or a shorter calm_s"
            )
        case Step() if workload.at_s >= duration_s:
            return f"the step does not come: {run}, and at_s is {workload.at_s:g} s"
        case FlashCrowd() if workload.at_s >= duration_s:
            return f"the crowd does not come: {run}, and at_s is {workload.at_s:g} s"
        case Diurnal() if workload.period_s > duration_s:
            return (
                f"the day does not come round: {run}, and period_s is {workload.period_s:g} s, of which the first have "
                "the lowest rate"
            )
    return too_short(workload, duration_s)
