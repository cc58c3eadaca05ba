"""The machine's speed, as its profile has it, and during a trial: other processes may have used the machine, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend
from experiments.trials.setting import Setting
from models.profile.plant import Plant


def machine(setting: Setting, origins: Sequence[Mapping[str, object]]) -> str:
    """Returns in one line the machine that served, or was simulated, and how fast it decodes.

    `origins`: the circumstances of the trials.
    """
    profile, batch = setting.profile, setting.experiment.max_batch
    live = setting.experiment.backend is Backend.LIVE
    if profile is None:
        speed = "its speed is not known without a profile"
    else:
        plant = replace(profile.plant_model(), max_batch=batch)
        speed = (
            f"{'by the profile ' if live else ''}a step takes {1e3 / plant.rate(1):.3g} ms with one sequence, "
            f"{plant.rate(1):,.0f} tokens/s, and {1e3 * batch / plant.capacity:.3g} ms with {batch}, "
            f"{plant.capacity:,.0f} tokens/s"
        )
    if live:
        found = [(one.get("processor", "unknown"), one.get("cores", "unknown")) for one in origins]
        ran = dict.fromkeys(f"{processor}, {cores} cores" for processor, cores in found)
        return f"Machine: {' or '.join(ran)}; {speed}."
    if setting.experiment.synthetic is not None or profile is None:
        return f"Machine: simulated, made from published figures; {speed}."
    made = profile.provenance
    threads = made.get("threads", "unknown")
    return f"Machine: simulated, {made.get('processor', 'unknown')}, threads {threads}; {speed}."


def relative_speed(records: Sequence[RequestRecord], plant: Plant) -> float | None:
    """Returns the tokens decoded over those that the plant decodes in the same time with as many running requests.

    Probe rows count as additional sequences, spread evenly. Prompt tokens are left out, so 1 is never quite reached.
    None: no reply row was decoded, which tells no speed. Raises ValueError if no request was served.
    """
    served = [one for one in records if one.error is None]
    if not served:
        raise ValueError(f"{len(records)} requests have been made, and none was served")
    probes = sum(one.probe_rows for one in served)
    tokens = sum(one.rows for one in served) - probes
    if tokens < 1:
        return None
    step = replace(plant.step_time, a=plant.step_time.a / (1.0 + probes / tokens))
    probing = replace(plant, step_time=step)
    begins = np.array([one.at_s + one.queue_s for one in served])
    ends = np.array([one.at_s + one.latency_s for one in served])
    times = np.concatenate((begins, ends))
    order = np.argsort(times, kind="stable")
    running = np.cumsum(np.concatenate((np.ones_like(begins), -np.ones_like(ends)))[order])[:-1]
    rates = np.array([probing.rate(n) for n in range(plant.max_batch + 1)]) / (1.0 + probes / tokens)
    places = np.clip(running, 0, plant.max_batch).astype(int)
    decodable = float(np.diff(times[order]) @ rates[places])
    return tokens / decodable if decodable > 0.0 else None
