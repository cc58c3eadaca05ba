"""Latency and SLO attainment of ended requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from controller.serving.status import EndedRequest
from engine.base import FinishReason
from laser.server.controller_report import ControllerReport
from laser.server.dashboard.schema import Attainment, Latency
from models.profile.difficulty import CLASSES

ANY = "any"  # stands for a request's unknown class, and for an SLO that all classes share


def slos(controller: ControllerReport, slo_s: float | None) -> dict[str, float]:
    """Returns the SLOs in force by class, s: the controller's, else `slo_s` for all classes; None: there is none."""
    if controller.slo_s is not None:
        return controller.slo_s
    return {} if slo_s is None else {ANY: slo_s}


def latency(ended: Sequence[EndedRequest], slo_s: Mapping[str, float]) -> Latency:
    """Summarises the latency of these requests and their attainment of the SLOs by class."""
    served = [each for each in ended if each.finish_reason is not FinishReason.ERROR]
    totals = np.array([each.total_s for each in served])
    by_class = _by_class(ended, slo_s)
    judged = sum(each.requests for each in by_class.values())
    kept = sum(each.within * each.requests for each in by_class.values())
    return Latency(
        requests=len(ended),
        failed=len(ended) - len(served),
        mean_s=float(totals.mean()) if served else None,
        p95_s=float(np.quantile(totals, 0.95)) if served else None,
        mean_thought_tokens=float(np.mean([each.thought_tokens for each in served])) if served else None,
        within_slo=kept / judged if judged else None,
        slo=by_class,
        exits=dict(Counter(str(each.exit_reason) for each in ended if each.exit_reason is not None)),
    )


def _by_class(ended: Sequence[EndedRequest], slo_s: Mapping[str, float]) -> dict[str, Attainment]:
    """Returns the attainment of each class that has an SLO and a request, easiest first."""
    found = {}
    for name in (*CLASSES, ANY):
        limit_s = slo_s.get(name, slo_s.get(ANY))
        ones = [each for each in ended if (each.difficulty or ANY) == name]
        if ones and limit_s is not None:
            kept = sum(each.total_s <= limit_s for each in ones if each.finish_reason is not FinishReason.ERROR)
            found[name] = Attainment(slo_s=limit_s, requests=len(ones), within=kept / len(ones))
    return found
