"""Workloads, i.e. arrival times of requests: generated from a seed, or recorded by a production service."""

from experiments.workloads.modulated import Diurnal, FlashCrowd, Mmpp, Step
from experiments.workloads.reading import AnyWorkload, read_workload
from experiments.workloads.recorded import Rates, TimeUnit, Trace, lasting_s
from experiments.workloads.renewal import Gamma, Poisson
from experiments.workloads.unseen import unseen
from experiments.workloads.workload import Times, Workload, WorkloadError

__all__ = [
    "AnyWorkload",
    "Diurnal",
    "FlashCrowd",
    "Gamma",
    "Mmpp",
    "Poisson",
    "Rates",
    "Step",
    "TimeUnit",
    "Times",
    "Trace",
    "Workload",
    "WorkloadError",
    "lasting_s",
    "read_workload",
    "unseen",
]
