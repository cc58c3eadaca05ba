"""Formats an analysis as text for the terminal: what it means, then the tables."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.analysis.analysis import Analysis
from experiments.analysis.capacity import Capacity, MemoryAtRate
from experiments.analysis.checks import Checks
from experiments.analysis.fronts import Fronts, latency_at
from experiments.analysis.levers import PEAK, LeverWorth, OrderWorth
from experiments.analysis.misspecification import Misspecification
from experiments.analysis.replay import LogReplay
from experiments.analysis.situation import Situation
from experiments.analysis.sweep import RateSweep
from experiments.analysis.verdict import verdict
from experiments.table import Table, lines_of, texts, wrapped
from models.profile.corners import outermost, told
from models.profile.profile import Profile

WIDTH = 36  # of the first column


def tables(one: Situation, found: Analysis) -> str:
    """Returns what the analysis means and all its tables as one text."""
    fronts, levers, decisions, *others = texts(_tables(one, found))
    begins = lines_of(verdict(one, found))
    parts = ["\n".join(part) for part in (begins, _situation(one))]
    parts += [
        fronts,
        "\n".join([levers, *_order(found.levers.order)]),
        decisions,
        "\n".join([*_capacity(one, found.capacity), *_memory(one, found.memory)]),
        "\n".join(_checks(found.checks)),
    ]
    wrong = others[: len(found.misspecification)]
    parts += wrong
    if found.replay is not None:
        parts += ["\n".join(_log(one, found.replay)), *others[len(wrong) :]]
    return "\n\n".join(parts)


def _tables(one: Situation, found: Analysis) -> Iterator[Table]:
    yield _fronts(one, found.fronts)
    yield _levers(found.levers)
    yield _decisions(one, found.sweep)
    yield from map(_misspecification, found.misspecification)
    if found.replay is not None:
        yield _replay(found.replay)


def _situation(one: Situation) -> list[str]:
    mix = ", ".join(f"{name} {share:.0%}" for name, share in zip(one.tables.classes, one.mix, strict=True))
    points = len(one.tables.points)
    usable = f"{points} operating points" if points > 1 else "full thought is the only operating point"
    certificate = one.measured.certificate
    level = f"a risk of {certificate.epsilon:g}, confidence {1.0 - certificate.delta:g}"
    return [
        f"{one.measured.model.name}, {mix}; {usable}",
        *wrapped(f"Certified at {level}: {_corners(one.measured)}"),
        *wrapped(_kept(one)),
        f"Decodes {one.plant.capacity:.0f} tokens/s with {one.plant.max_batch} sequences; plans for "
        f"{one.objective.max_load:.0%} of it",
        *wrapped(
            f"a second's wait of one request counts as {one.objective.latency_weight:.3g} of a right answer "
            "(`latency_weight` of the controller's settings): so much accuracy is given for it and no more; "
            "operating point: a threshold with a budget; budget: the thought's tokens after which it is closed; "
            "risk: how often full thought is right and an early exit wrong",
            indent="  ",
        ),
    ]


def _kept(one: Situation) -> str:
    """Returns the corner that a controller keeps to; empty: it has all points."""
    points = one.tables.points
    if len(points) == len(one.constants.points):
        return ""
    return f"A controller keeps to one corner of these: {told(outermost(points))}"


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


def _fronts(one: Situation, found: Fronts) -> Table:
    rates = tuple(f"{rate:g}/s" for rate in found.rates)
    rows = []
    for fixed in found.fixed:
        name = fixed.name if fixed.usable else f"{fixed.name} (not certified)"
        rows.append((name, f"{fixed.accuracy:.1%}", f"{fixed.tokens:.0f}", *_times(fixed.latency_s)))
    full = found.fixed[0].accuracy
    for name, front in (
        ("one setting for all classes", found.constant),
        ("a threshold by class", found.threshold),
        ("threshold and budget by class", found.joint),
    ):
        accuracy = min(full, front.accuracy[-1])
        tokens = front.tokens_at(accuracy)
        assert tokens is not None
        latency = tuple(latency_at(one, tokens, rate) for rate in found.rates)
        rows.append((name, f"{accuracy:.1%}", f"{tokens:.0f}", *_times(latency)))
    return Table(
        title="1  What accuracy costs: tokens a request, and mean latency by arrival rate",
        header=("", "accuracy", "tokens", *rates),
        rows=tuple(rows),
        note=f"{', '.join(rates)}: mean seconds of a reply when so many requests arrive; overload: the queue would "
        "grow for ever. The last three rows spend as few tokens as full thought's accuracy allows",
        names=rates,
    )


def _levers(found: LeverWorth) -> Table:
    accuracy = tuple(f"{100 * wanted:.2f} %" for wanted in found.accuracy)
    rows = [("all levers", *("out of reach" if tokens is None else f"{tokens:.0f}" for tokens in found.tokens))]
    for one in found.without:
        more = zip(one.tokens, found.tokens if one.against is None else one.against, strict=True)
        rows.append((f"without {one.lever}", *(_more(tokens, every) for tokens, every in more)))
    return Table(
        title="What each lever is worth: the fewest tokens a request for an accuracy, and how many more without it",
        header=("", *accuracy),
        rows=tuple(rows),
        note=f"{accuracy[0]}: the full thought's accuracy; below 0: what is certified without the lever, or "
        "the corner that is kept to then, is cheaper; "
        f"account of risk: against the front where the risk is kept on average, and {PEAK:.0%} with any one request",
        names=accuracy,
    )


def _order(found: OrderWorth | None) -> list[str]:
    if found is None:
        return []
    told = zip(found.rates, found.shortest_s, found.first_come_s, strict=True)
    said = [f"{first / short - 1.0:+.1%} at {rate:g}/s ({_time(short)})" for rate, short, first in told]
    return [
        *_fact("without shortest first", ", ".join(said)),
        *wrapped(
            "shortest first: the class whose thoughts are expected to be shortest goes first; told is the mean latency "
            "with it, and how much longer it is first come, first served, simulated with lengths that no one knows "
            "beforehand",
            indent="  ",
        ),
    ]


def _more(tokens: float | None, every: float | None) -> str:
    return "out of reach" if tokens is None or every is None else f"{tokens / every - 1.0:+.1%}"


def _times(latency_s: tuple[float | None, ...]) -> tuple[str, ...]:
    return tuple(_time(seconds) for seconds in latency_s)


def _time(seconds: float | None) -> str:
    return "overload" if seconds is None else f"{seconds:.2f} s"


def _decisions(one: Situation, found: RateSweep) -> Table:
    longest = one.measured.max_tokens
    rows = []
    for step in found.looked_at:
        settings = [
            ("full" if theta > 1.0 else f"{theta:.3f}") + (", none" if budget >= longest else f", {budget:.0f}")
            for theta, budget in zip(step.threshold, step.budget, strict=True)
        ]
        rows.append(
            (
                f"{step.rate:g}", f"{step.load:.0%}", f"{step.accuracy:.1%}", _time(step.latency_s), f"{step.shed:.1%}",
                f"{1e3 * step.token_price:.3g}", *settings,
            )
        )  # fmt: skip
    return Table(
        title="2, 3  What is decided at each rate, and what a thousand tokens more would cost in correct answers",
        header=("requests/s", "load", "accuracy", "latency", "shed", "price", *one.tables.classes),
        rows=tuple(rows),
        note=f"{', '.join(one.tables.classes)}: mean threshold, mean budget of the class; `full` is never closed "
        "early, `none` is no budget",
        names=tuple(one.tables.classes),
    )


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
    note = (
        "turned away, also `shed`: a request that is refused because serving it would cost the others more right "
        "answers than one; losing: accuracy below full thought's"
    )
    return [*lines, *wrapped(note, indent="  ")]


def _memory(one: Situation, found: tuple[MemoryAtRate, ...]) -> list[str]:
    if not found:
        return []
    lines = []
    for each in found:
        lines += _fact(
            f"{one.cells} cells at {each.rate:g}/s",
            f"{each.batch} requests at once of {each.cells:.0f} cells each ({each.cells_without:.0f} if cells were "
            f"free); 1,000 tokens cost {1e3 * each.token_price:.3g} correct answers, a million cell-steps "
            f"{1e6 * each.cell_price:.3g}; memory for one request more at once brings each {each.sequence_price:.3g}",
        )
    note = (
        "cell: a token of KV cache; cell-step: a cell held over a decode step, beyond what a request has room for; 0: "
        "memory does not bind, or has room for a part of one request more"
    )
    return [*lines, *wrapped(note, indent="  ")]


def _checks(found: Checks) -> list[str]:
    return [
        "5  What the models are worth",
        *_fact(
            "requests in the system",
            ", ".join(f"{one.error:+.1%} at load {one.load:.2f}" for one in found.simulated) + " against a simulation",
        ),
        *_fact("tangents of it", f"{found.tangents.worst:.2%} short at worst"),
        *_fact(
            "linear program",
            f"{_gains([gap.linear_program - gap.price_bisection for gap in found.gaps])} over price bisection, "
            f"{_gains([gap.linear_program - gap.brute_force for gap in found.gaps if gap.brute_force is not None])} "
            "over all unmixed settings, correct answers per 10 000",
        ),
        *wrapped(
            "requests in the system: waiting or running, by the model of this machine; load: tokens asked for over "
            "tokens that can be decoded; tangents: straight lines that stand for that model in the linear program, "
            "which chooses the thresholds; price bisection: the simpler way that stands in for it",
            indent="  ",
        ),
    ]


def _fact(name: str, value: str) -> list[str]:
    """Returns a name and what is known of it, in as many lines as it needs."""
    first, *others = wrapped(value, indent=" " * WIDTH)
    return [f"{name:<{WIDTH}}{first[WIDTH:]}", *others]


def _gains(gains: list[float]) -> str:
    return f"{1e4 * min(gains):+.2f} to {1e4 * max(gains):+.2f}" if gains else "nothing to gain"


def _misspecification(found: Misspecification) -> Table:
    right = found.right
    rows = []
    for belief in found.wrong:
        change = belief.latency_change_s
        told = f"load {belief.outcome.load:.2f}" if change is None else f"{change:+.2f} s"
        shed = f"{belief.outcome.shed:.1%}"
        rows.append((f"{belief.name} {belief.factor - 1.0:+.0%}", f"{belief.accuracy_change:+.1%}", told, shed))
    return Table(
        title=f"Wrong beliefs at {found.rate:.3g} requests/s ({found.regime}): {right.accuracy:.1%} in "
        f"{_time(right.latency_s)} when right",
        header=("believed", "correct", "latency change", "shed"),
        rows=tuple(rows),
    )


def _solve_times(found: LogReplay) -> str:
    if found.solve_median_ms is None or found.solve_p99_ms is None:
        return "nothing was solved"
    return f"{found.solve_median_ms:.2f} ms median, {found.solve_p99_ms:.2f} ms p99 of {found.solves}"


def _log(one: Situation, found: LogReplay) -> list[str]:
    movement = ", ".join(f"{name} {moved:.3f}" for name, moved in zip(one.tables.classes, found.movement, strict=True))
    return [
        f"6  The log: {found.decisions} decisions in {found.minutes:.1f} minutes",
        f"{'taken by':<{WIDTH}}" + ", ".join(f"{name} {count}" for name, count in found.rungs.items()),
        f"{'with something wrong':<{WIDTH}}{found.failures}",
        f"{'time to solve':<{WIDTH}}{_solve_times(found)}",
        f"{'thresholds moved a minute':<{WIDTH}}{movement}",
        *wrapped(
            "taken by: what a decision comes from, the policy map or what stands in for it; p99: that many per cent "
            "are quicker; thresholds moved: by how much confidence, all moves of a class added",
            indent="  ",
        ),
    ]


def _replay(found: LogReplay) -> Table:
    return Table(
        title="What other policies would have done under the log's load",
        header=("policy", "accuracy", "latency", "shed", "overload"),
        rows=tuple(
            (
                policy.name, f"{policy.accuracy:.1%}", f"{policy.latency_s:.2f} s", f"{policy.shed:.1%}",
                f"{policy.overloaded:.0%}",
            )
            for policy in found.policies
        ),
    )  # fmt: skip
