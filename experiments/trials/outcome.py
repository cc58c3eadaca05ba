"""The figures of a policy's requests under a workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.request_record import RequestRecord
from experiments.statistics import Proportion, proportion
from experiments.trials.experiment import ClassSlo


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """A distribution of times, s."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutcome:
    """The figures over all seeds; a failed request is neither right nor in time, and has no latency."""

    requests: int
    failed: int
    latency: Seconds
    first_answer: Seconds  # time to the first token of the answer, not of the thought
    in_time: Proportion  # SLO attainment
    goodput: float  # requests/s that ended within their SLO
    accuracy: Proportion
    benchmarks: dict[str, Proportion]  # accuracy
    tokens: float  # token rows decoded per request: reply, withdrawn tokens, probes
    probe_rows: float  # of them for probes
    thought_tokens: float  # mean per request
    exits: dict[str, float]  # shares of requests by exit reason
    utility: float  # accuracy less the cost of waiting, correct answers per request


def outcome(records: Sequence[RequestRecord], slo: ClassSlo, *, seconds: float, latency_weight: float) -> PolicyOutcome:
    """Computes the figures of requests that arrived within `seconds`. Raises ValueError if none was served."""
    served = [one for one in records if one.error is None]
    if not served:
        raise ValueError(f"{len(records)} requests have been made, and all of them failed, the first with "
                         f"{records[0].error if records else 'nothing'}")  # fmt: skip
    latency = _seconds([one.latency_s for one in served])
    timely, rights = [in_time(one, slo) for one in records], [bool(one.right) for one in records]
    accuracy = proportion(rights)
    reasons = [one.exit_reason or "none" for one in served]
    return PolicyOutcome(
        requests=len(records),
        failed=len(records) - len(served),
        latency=latency,
        first_answer=_seconds([one.latency_s if one.first_answer_s is None else one.first_answer_s for one in served]),
        in_time=proportion(timely),
        goodput=sum(timely) / seconds,
        accuracy=accuracy,
        benchmarks={
            name: proportion([bool(one.right) for one in records if one.benchmark == name])
            for name in sorted({one.benchmark for one in records})
        },
        tokens=float(np.mean([one.rows for one in served])),
        probe_rows=float(np.mean([one.probe_rows for one in served])),
        thought_tokens=float(np.mean([one.thought_tokens for one in served])),
        exits={reason: reasons.count(reason) / len(reasons) for reason in sorted(set(reasons))},
        utility=accuracy.share - latency_weight * latency.mean,
    )


def in_time(record: RequestRecord, slo: ClassSlo) -> bool:
    """Whether a request ended within its class's SLO."""
    return record.error is None and record.latency_s <= slo.seconds(record.difficulty)


def _seconds(values: Sequence[float]) -> Seconds:
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return Seconds(mean=float(np.mean(values)), p50=float(p50), p95=float(p95), p99=float(p99))
