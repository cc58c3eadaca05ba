"""How fast a machine was during a trial, told from its records: others may have used it, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiments.request_record import RequestRecord
from models.profile.plant import Plant


def relative_speed(records: Sequence[RequestRecord], plant: Plant) -> float:
    """Tokens decoded, over those that the plant would have decoded in the same time with as many requests in it.

    Probes' rows count as more sequences, spread evenly. Prompts' do not, so 1 is never quite reached. Raises ValueError
    where nothing was served.
    """
    served = [one for one in records if one.error is None]
    if not served:
        raise ValueError(f"{len(records)} requests have been made, and none was served")
    probes = sum(one.probe_rows for one in served)
    tokens = sum(one.rows for one in served) - probes
    step = replace(plant.step_time, a=plant.step_time.a / (1.0 + probes / tokens))
    probing = replace(plant, step_time=step)
    begins = np.array([one.at_s + one.queue_s for one in served])
    ends = np.array([one.at_s + one.latency_s for one in served])
    times = np.concatenate((begins, ends))
    order = np.argsort(times, kind="stable")
    running = np.cumsum(np.concatenate((np.ones_like(begins), -np.ones_like(ends)))[order])[:-1]
    rates = np.array([probing.rate(n) for n in range(plant.max_batch + 1)]) / (1.0 + probes / tokens)
    places = np.clip(running, 0, plant.max_batch).astype(int)
    return float(tokens / (np.diff(times[order]) @ rates[places]))
