"""What an experiment's findings mean, in sentences: what the load-aware policy changes under each workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.sentences import FEW, between, percent, points
from experiments.trials.findings import Findings, PolicyFound, WorkloadFound
from experiments.trials.paired import Estimate

MOST = 4  # workloads that are told one by one


def verdict(found: Findings) -> list[str]:
    """Returns the sentences that a report begins with; none where there is nothing to compare."""
    name = _told_of(found)
    if name is None:
        return []
    baseline = found.experiment.baseline
    under = [(of, of.policies[name]) for of in found.workloads if name in of.policies]
    changes = [(of, one, one.against[baseline].latency) for of, one in under if baseline in one.against]
    lines = [_latency(of, one, change, baseline) for of, one, change in changes[:MOST]]
    if len(changes) > MOST:
        lines = list(_ranges(name, baseline, [one for _, one, _ in changes]))
    fewest = min((one.outcome.requests for _, one in under), default=FEW)
    if fewest < FEW:
        lines.append(f"That is few, {fewest} requests: too few to tell policies apart.")
    lines += _hindsight(name, under)
    if found.complete < found.trials:
        lines.append(f"Not all is run yet: {found.complete} of {found.trials} trials are complete.")
    return lines


def _told_of(found: Findings) -> str | None:
    """Returns the first load-aware policy, or else the first that is not compared with; None: there is none."""
    experiment = found.experiment
    run = [one for one in experiment.policies if any(one.name in of.policies for of in found.workloads)]
    others = [one for one in run if one.name not in (experiment.baseline, experiment.full_thought)]
    chosen = [one for one in others if one.has_controller] or others
    return chosen[0].name if chosen else None


def _latency(of: WorkloadFound, one: PolicyFound, change: Estimate | None, baseline: str) -> str:
    """Tells one policy under one workload in a sentence."""
    before = of.policies[baseline].outcome
    accuracy = one.against[baseline].accuracy
    return (
        f"Under {of.name}, {one.name} answers in {one.outcome.latency.mean:.2f} s in the mean, {baseline} in "
        f"{before.latency.mean:.2f} s{_relative(change)}; {percent(one.outcome.accuracy.share)} instead of "
        f"{percent(before.accuracy.share)} are right, {_more(accuracy)}."
    )


def _relative(change: Estimate | None) -> str:
    if change is None:
        return ""
    low, high = _directed(change)
    word = "less" if change.value < 0.0 else "more"
    return f": {percent(abs(change.value), 0)} {word} {between(100 * low, 100 * high, 0)}"


def _more(change: Estimate) -> str:
    low, high = _directed(change)
    return f"{points(change.value)} {'fewer' if change.value < 0.0 else 'more'} {between(low, high)}"


def _directed(change: Estimate) -> tuple[float, float]:
    """Returns the interval of a change as it is told: of a fall, by how much it falls."""
    return (-change.high, -change.low) if change.value < 0.0 else (change.low, change.high)


def _ranges(name: str, baseline: str, shown: Sequence[PolicyFound]) -> Iterator[str]:
    """Tells many workloads at once, by the least and the greatest change."""
    latency = [one.against[baseline].latency for one in shown]
    known = [100 * change.value for change in latency if change is not None]
    accuracy = [one.against[baseline].accuracy.value for one in shown]
    if known:
        yield (
            f"Under the {len(shown)} workloads {name} changes the mean latency against {baseline} by {min(known):+.0f} "
            f"to {max(known):+.0f} %, and accuracy by {min(accuracy):+.1f} to {max(accuracy):+.1f} points."
        )


def _hindsight(name: str, under: Sequence[tuple[WorkloadFound, PolicyFound]]) -> Iterator[str]:
    """Tells how the policy stands beside the best constant setting, which is known only afterwards."""
    constants = [(of.best_constant, one) for of, one in under]
    changes = [one.against[best].utility for best, one in constants if best is not None and best in one.against]
    known = [change for change in changes if change is not None]
    if known:
        better = sum(change.low > 0.0 for change in known)
        worse = sum(change.high < 0.0 for change in known)
        even = len(known) - better - worse
        yield (
            f"Against the constant threshold and budget that proved best afterwards, {name} is better under {better} "
            f"of {len(known)} workloads, worse under {worse}, and not to be told apart under {even}, by utility "
            "(accuracy less what waiting costs)."
        )
