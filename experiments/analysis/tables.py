"""Formats an analysis as text tables for the terminal."""

from __future__ import annotations

from experiments.analysis.analysis import Analysis
from experiments.analysis.capacity import Capacity
from experiments.analysis.checks import Checks
from experiments.analysis.fronts import Fronts, latency_at
from experiments.analysis.misspecification import Misspecification
from experiments.analysis.replay import LogReplay
from experiments.analysis.situation import Situation
from experiments.analysis.sweep import RateSweep
from models.profile.profile import Profile

WIDTH = 32  # of the first column


def tables(one: Situation, found: Analysis) -> str:
    """Returns all tables of the analysis as one text."""
    parts = [_situation(one), _fronts(one, found.fronts), _decisions(one, found.sweep), _capacity(one, found.capacity)]
    parts += [_checks(found.checks), *map(_misspecification, found.misspecification)]
    if found.replay is not None:
        parts.append(_replay(one, found.replay))
    return "\n\n".join("\n".join(part) for part in parts)


def _situation(one: Situation) -> list[str]:
    mix = ", ".join(f"{name} {share:.0%}" for name, share in zip(one.tables.classes, one.mix, strict=True))
    points = len(one.tables.points)
    usable = f"{points} operating points" if points > 1 else "full thought is the only operating point"
    certificate = one.measured.certificate
    level = f"a risk of {certificate.epsilon:g}, confidence {1.0 - certificate.delta:g}"
    return [
        f"{one.measured.model.name}, {mix}; {usable}",
        f"Certified at {level}: {_corners(one.measured)}",
        f"Decodes {one.plant.capacity:.0f} tokens/s with {one.plant.max_batch} sequences; plans for "
        f"{one.objective.max_load:.0%} of it. A second's wait is worth {one.objective.latency_weight:g} answers",
    ]


def _corners(measured: Profile) -> str:
    """Describes the laxest certified threshold under each budget that has certified points."""
    lowest: dict[int | None, float | None] = {}
    for point in measured.points():  # thresholds fall
        lowest[point.budget] = point.threshold
    said = []
    for budget in measured.budgets:
        if budget in lowest:
            threshold = lowest[budget]
            allowed = "full thought" if threshold is None else f"thresholds to {threshold:g}"
            said.append(allowed if budget is None else f"from {budget} tokens {allowed}")
    return ", ".join(said)


def _fronts(one: Situation, found: Fronts) -> list[str]:
    rates = "".join(f"{f'{rate:g}/s':>11}" for rate in found.rates)
    lines = [
        "1  What accuracy costs: tokens a request, and mean latency by arrival rate",
        f"{'':<{WIDTH}}{'accuracy':>10}{'tokens':>8}{rates}",
    ]
    for fixed in found.fixed:
        name = fixed.name if fixed.usable else f"{fixed.name} (not certified)"
        lines.append(f"{name:<{WIDTH}}{fixed.accuracy:>10.1%}{fixed.tokens:>8.0f}" + _times(fixed.latency_s))
    full = found.fixed[0].accuracy
    for name, front in (
        ("one setting for all classes", found.constant),
        ("a threshold by class", found.threshold),
        ("threshold and budget by class", found.joint),
    ):
        tokens = front.tokens_at(min(full, front.accuracy[-1]))
        assert tokens is not None
        latency = tuple(latency_at(one, tokens, rate) for rate in found.rates)
        lines.append(f"{name:<{WIDTH}}{min(full, front.accuracy[-1]):>10.1%}{tokens:>8.0f}" + _times(latency))
    return lines


def _times(latency_s: tuple[float | None, ...]) -> str:
    return "".join(f"{'overload' if seconds is None else f'{seconds:.2f} s':>11}" for seconds in latency_s)


def _decisions(one: Situation, found: RateSweep) -> list[str]:
    lines = [
        "2, 3  What is decided at each rate, and what a thousand tokens more would cost in correct answers",
        f"{'requests/s':<12}{'load':>7}{'accuracy':>10}{'latency':>10}{'shed':>7}{'price':>10}"
        + "".join(f"{name:>16}" for name in one.tables.classes),
    ]
    longest = one.measured.max_tokens
    for step in found.looked_at:
        latency = "overload" if step.latency_s is None else f"{step.latency_s:.2f} s"
        settings = [
            ("full" if theta > 1.0 else f"{theta:.3f}") + (", none" if budget >= longest else f", {budget:.0f}")
            for theta, budget in zip(step.threshold, step.budget, strict=True)
        ]
        lines.append(
            f"{step.rate:<12g}{step.load:>7.0%}{step.accuracy:>10.1%}{latency:>10}{step.shed:>7.1%}"
            f"{1e3 * step.token_price:>10.3g}" + "".join(f"{setting:>16}" for setting in settings)
        )
    return [*lines, "By class: mean threshold, mean budget; `full` is never closed early"]


def _capacity(one: Situation, found: Capacity) -> list[str]:
    lines = [
        "4  What the machine bears",
        f"{'full thought':<{WIDTH}}{found.full_thought_rate:>8.2f} requests/s",
        *(
            f"{f'no class losing over {limit.loss:.1%}':<{WIDTH}}{limit.rate:>8.2f}"
            for limit, before in zip(found.bearable, (None, *found.bearable), strict=False)
            if limit.rate <= found.sheds_from and (before is None or limit.rate > before.rate)
        ),
        f"{'before turning some away is better':<{WIDTH}}{found.sheds_from:>8.2f}",
    ]
    for left in found.headroom:
        if left.loss is None:
            state = "some are turned away"
        else:
            spare = f"{left.factor - 1.0:+.0%} before some are better turned away"
            state = f"{spare}; no class need lose over {left.loss:.1%}"
        lines.append(f"{f'at {left.rate:g}/s':<{WIDTH}}{state}")
    return lines


def _checks(found: Checks) -> list[str]:
    return [
        "5  What the models are worth",
        f"{'requests in the system':<{WIDTH}}"
        + ", ".join(f"{one.error:+.1%} at load {one.load:.2f}" for one in found.simulated)
        + " against a simulation",
        f"{'tangents of it':<{WIDTH}}{found.tangents.worst:.2%} short at worst",
        f"{'linear program':<{WIDTH}}"
        + f"{_gains([gap.linear_program - gap.price_bisection for gap in found.gaps])} over price bisection, "
        + f"{_gains([gap.linear_program - gap.brute_force for gap in found.gaps if gap.brute_force is not None])} "
        + "over all unmixed settings, correct answers per 10 000",
    ]


def _gains(gains: list[float]) -> str:
    return f"{1e4 * min(gains):+.2f} to {1e4 * max(gains):+.2f}" if gains else "nothing to gain"


def _misspecification(found: Misspecification) -> list[str]:
    right = found.right
    latency = "overload" if right.latency_s is None else f"{right.latency_s:.2f} s"
    lines = [
        f"Wrong beliefs at {found.rate:.3g} requests/s ({found.regime}): {right.accuracy:.1%} in {latency} when right",
        f"{'believed':<{WIDTH + 8}}{'correct':>10}{'latency':>12}{'shed':>8}",
    ]
    for belief in found.wrong:
        change = belief.latency_change_s
        told = f"load {belief.outcome.load:.2f}" if change is None else f"{change:+.2f} s"
        lines.append(
            f"{f'{belief.name} {belief.factor - 1.0:+.0%}':<{WIDTH + 8}}{belief.accuracy_change:>+10.1%}{told:>12}"
            f"{belief.outcome.shed:>8.1%}"
        )
    return lines


def _solve_times(found: LogReplay) -> str:
    if found.solve_median_ms is None or found.solve_p99_ms is None:
        return "nothing was solved"
    return f"{found.solve_median_ms:.2f} ms median, {found.solve_p99_ms:.2f} ms p99 of {found.solves}"


def _replay(one: Situation, found: LogReplay) -> list[str]:
    movement = ", ".join(f"{name} {moved:.3f}" for name, moved in zip(one.tables.classes, found.movement, strict=True))
    lines = [
        f"6  The log: {found.decisions} decisions in {found.minutes:.1f} minutes",
        f"{'taken by':<{WIDTH}}" + ", ".join(f"{name} {count}" for name, count in found.rungs.items()),
        f"{'with something wrong':<{WIDTH}}{found.failures}",
        f"{'time to solve':<{WIDTH}}{_solve_times(found)}",
        f"{'thresholds moved a minute':<{WIDTH}}{movement}",
        f"{'policy':<{WIDTH + 8}}{'accuracy':>10}{'latency':>10}{'shed':>8}{'overload':>10}",
    ]
    for policy in found.policies:
        lines.append(
            f"{policy.name:<{WIDTH + 8}}{policy.accuracy:>10.1%}{f'{policy.latency_s:.2f} s':>10}{policy.shed:>8.1%}"
            f"{policy.overloaded:>10.0%}"
        )
    return lines
