"""What an analysis means, in sentences: how many requests the machine bears, and what shorter thoughts do at a rate."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.analysis.analysis import Analysis
from experiments.analysis.situation import Situation
from experiments.sentences import percent, points

LOSS = 0.01  # of accuracy, that a class may lose in the first sentence


def verdict(one: Situation, found: Analysis) -> list[str]:
    """Returns the sentences that an analysis begins with. All figures are computed from the profile."""
    bears = found.capacity
    begins = (
        f"With full thought {one.measured.model.name} bears {bears.full_thought_rate:.3g} requests/s on its profile's "
        "machine"
    )
    if len(one.tables.points) == 1:
        return [f"{begins}; full thought is the only operating point, so no thought can be shortened."]
    lossless = next(limit.rate for limit in bears.bearable if limit.loss == LOSS)
    return [
        f"{begins}, with shorter thoughts {lossless:.3g} requests/s where no difficulty class loses more than "
        f"{points(100 * LOSS, 0)} of accuracy, and {bears.sheds_from:.3g} before it is better to turn some away.",
        *_at_rates(found),
    ]


def _at_rates(found: Analysis) -> Iterator[str]:
    """Tells the highest rate that is looked at."""
    full, step = found.fronts.fixed[0], found.sweep.looked_at[-1]
    before = full.latency_s[-1]
    waits = "cannot keep up" if before is None else f"takes {before:.2f} s in the mean"
    now = "cannot keep up either" if step.latency_s is None else f"take {step.latency_s:.2f} s"
    yield (
        f"At {step.rate:g} requests/s full thought {waits}; thoughts as they are planned for it {now}, with "
        f"{percent(step.accuracy)} of the answers right instead of {percent(full.accuracy)}"
        + (f", and {percent(step.shed)} of the requests turned away." if step.shed >= 5e-4 else ".")
    )
