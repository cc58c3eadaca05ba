"""Formats a profile as text for the terminal: what it means, then the tables."""

from __future__ import annotations

import numpy as np

from controller.policies.restricted import worst_benchmark
from experiments.calibration.step_times import TIMING, Steadiness
from experiments.sentences import counted, percent, points, saves
from experiments.table import Table, lines_of, texts, wrapped
from models.profile.corners import certified_range
from models.profile.harm import OWN_BOUNDS
from models.profile.levers.benchmarks import ByBenchmark
from models.profile.profile import Profile


def summary(profile: Profile) -> str:
    """Returns what a profile means, the measurements and the certified range as text."""
    return "\n".join(lines(profile))


def lines(profile: Profile) -> list[str]:
    """Returns the lines of the summary; a line may be empty."""
    tables = texts([_full_thought(profile), _difficulty(profile)])
    return [
        *lines_of([*verdict(profile), *busy(profile)]),
        "",
        *(line for table in tables for line in (*table.splitlines(), "")),
        *_certified(profile),
        *giving_up(profile),
        *pricing(profile),
        *answering_at_once(profile),
        *racing(profile),
        "",
        *_speed(profile),
    ]


def verdict(profile: Profile) -> list[str]:
    """Returns the sentences that the summary begins with: what full thought does, and what the certificate allows."""
    accuracy, tokens = _mean(profile, 0, 0)
    full = f"With full thought {percent(accuracy)} of {counted(sum(profile.counts), 'question')} are answered right"
    return [f"{full}, at {tokens:.0f} tokens a request in the mean.", allowed(profile)]


def busy(profile: Profile) -> list[str]:
    """Returns a sentence if the machine evidently did other work while the profile's steps were timed, else nothing."""
    said = profile.provenance.get(TIMING)
    if not isinstance(said, dict):  # of an earlier release, or synthetic
        return []
    steady = Steadiness(spread=said["spread"], drift=said["drift"], waited=said["waited"])
    if not steady.busy:
        return []
    waited = "" if steady.waited is None else f", the engine waited for the CPU {percent(steady.waited, 0)} of the time"
    return [
        f"The machine did other work while steps were timed (steps of one kind spread by {percent(steady.spread, 0)}, "
        f"and changed by {percent(steady.drift, 0)} from begin to end{waited}): run the same command again once it is "
        "quiet, which times the steps anew and asks no question again."
    ]


def allowed(profile: Profile) -> str:
    """Returns what the certificate allows, and what that saves, as a sentence."""
    count, (accuracy, tokens) = profile.certificate.count, _mean(profile, 0, 0)
    cheapest = _cheapest(profile)
    if cheapest is None:
        return (
            f"Nothing but full thought is certified, on {counted(count, 'question')}: no thought will be closed early."
        )
    i, j = cheapest
    right, cost = _mean(profile, i, j)
    lost = 100 * (accuracy - right)
    changed = f"{'costs' if lost >= 0 else 'gains'} {points(lost)} of accuracy"
    return (
        f"The shortest thoughts that are certified are closed {_exit(profile, i, j)}: that "
        f"{saves(1.0 - cost / tokens)} and {changed} on these questions. Certified is, with probability "
        f"{1 - profile.certificate.delta:g}, that it "
        f"costs at most {points(100 * profile.certificate.epsilon)}."
    )


def _cheapest(profile: Profile) -> tuple[int, int] | None:
    """Returns the certified point of fewest tokens, as places of threshold and budget; None: the full thought."""
    table = profile.certificate.certified
    safe = [
        (i, j)
        for i in range(len(profile.thresholds))
        for j in range(len(profile.budgets))
        if profile.refused is None and table[i][j] and (i, j) != (0, 0)
    ]
    return min(safe, key=lambda place: _mean(profile, *place)[1], default=None)


def _mean(profile: Profile, i: int, j: int) -> tuple[float, float]:
    """Returns accuracy and tokens at a point, over the questions of all classes."""
    accuracy, tokens = (np.array(table)[:, i, j] for table in (profile.accuracy, profile.tokens))
    return float(np.average(accuracy, weights=profile.counts)), float(np.average(tokens, weights=profile.counts))


def _full_thought(profile: Profile) -> Table:
    return Table(
        title="With full thought, by class as told from the prompt",
        header=("class", "questions", "accuracy", "tokens"),
        rows=tuple(
            (name, str(count), f"{accuracy[0][0]:.1%}", f"{tokens[0][0]:.0f}")
            for name, count, accuracy, tokens in zip(
                profile.classes, profile.counts, profile.accuracy, profile.tokens, strict=True
            )
        ),
    )


def _difficulty(profile: Profile) -> Table:
    told = tuple(f"told {name}" for name in profile.classes)
    return Table(
        title=f"Difficulty, told from the prompt ({profile.explained:.0%} of the variance of log length)",
        header=("by true length", *told),
        rows=tuple((name, *map(str, row)) for name, row in zip(profile.classes, profile.confusion, strict=True)),
        note="Questions: in rows the class by the full thought's length, in columns the class told from the prompt. "
        "Variance: how much lengths differ; 100% of it if the prompt told them exactly",
        names=("by true length", *told),
    )


def _certified(profile: Profile) -> list[str]:
    certificate = profile.certificate
    range_ = (
        f"Certified on {certificate.count} questions, risk at most {certificate.epsilon:g} at confidence "
        f"{1 - certificate.delta:g}: {certified_range(profile)}"
    )
    risk = "risk: how often full thought is right and an early exit within the range is wrong"
    return [range_, *_evidence(profile), *worst_of(profile), *wrapped(risk, indent="  ")]


def worst_of(profile: Profile) -> list[str]:
    """Tells what is certified of every benchmark apart; nothing where they were not told apart, or there is but one."""
    apart = profile.benchmarks
    if apart is None or len(apart.names) < 2:
        return []
    if profile.refused is not None:
        return []
    worst = worst_benchmark(profile) if profile.worst_benchmark is False and not profile.levers else profile
    return wrapped(
        f"Pooled is the mix of {len(apart.names)} benchmarks. Within the range {_harmed_most(profile, apart)} at that "
        f"confidence. With the same risk for every benchmark (`worst_benchmark: true`): {certified_range(worst)}. "
        f"{_of_each_class(profile, apart)}"
    )


def _harmed_most(profile: Profile, apart: ByBenchmark) -> str:
    """Tells which benchmark the certified exits harm most, and its own bound."""
    safe = np.array(profile.certificate.certified)
    bounds = np.where(safe, apart.bounds(profile.certificate.delta), 0.0)
    b, i, j = (int(place) for place in np.unravel_index(int(bounds.argmax()), bounds.shape))
    return (
        f"{apart.names[b]} is harmed most, {_exit(profile, i, j)}: in {apart.harmed[b][i][j]} of "
        f"{counted(apart.counts[b], 'question')}, a risk of at most {percent(float(bounds[b, i, j]))}"
    )


def _of_each_class(profile: Profile, apart: ByBenchmark) -> str:
    """Tells which benchmarks are bounded within a class, too, or why none is."""
    if apart.by_class is None:
        return "Within a class none is bounded: benchmarks were not counted by class, run the calibration again"
    d, b = apart.by_class.fewest
    needed = (
        f"which takes {OWN_BOUNDS:,} questions of it there: the fewest are {apart.by_class.counts[d][b]:,} of "
        f"{apart.names[b]} in {profile.classes[d]}"
    )
    own = [(name, one) for name, one in zip(profile.classes, apart.of_classes(), strict=True) if one is not None]
    if not own:
        return f"Within a class none is bounded, {needed}"
    occurring = sum(count > 0 for row in apart.by_class.counts for count in row)
    most = "; ".join(f"in {name} {_harmed_most(profile, one)}" for name, one in own)
    told = f"bounded, too, are {sum(len(one.names) for _, one in own)} of {occurring}, {needed}"
    if apart.by_class.enough:
        told = "every benchmark is bounded, too"
    return f"Within the classes {told}. Within the pooled range {most}"


def _exit(profile: Profile, i: int, j: int) -> str:
    threshold, budget = profile.thresholds[i], profile.budgets[j]
    ways = [
        *([f"at confidence {threshold:.2f}"] if threshold is not None else []),
        *([f"after {budget} tokens"] if budget is not None else []),
    ]
    return " or ".join(ways) or "by nothing"


def giving_up(profile: Profile) -> list[str]:
    """Tells what is certified of giving hopeless thoughts up, and what it does; nothing where it is not tabulated."""
    tables = profile.give_up
    if tables is None:
        return []
    if profile.refused is not None or tables.refused is not None:
        return wrapped(f"Giving hopeless thoughts up is not certified: {profile.refused or tables.refused}")
    certified = np.array(tables.certified)[1:, 1:, 0]  # [curve, threshold] without a budget
    if not certified.any():
        return wrapped("Giving hopeless thoughts up is certified nowhere: even the lowest curve throws away too much")
    c = int(np.flatnonzero(certified.any(axis=1))[-1])
    i = 1 + int(np.flatnonzero(certified[c])[-1])
    right, cost = (
        float(np.average(np.array(table)[c, :, i, 0], weights=profile.counts))
        for table in (tables.accuracy, tables.tokens)
    )
    accuracy, tokens = _mean(profile, i, 0)
    curve, lost = tables.curves[c], 100 * (accuracy - right)
    return wrapped(
        f"Giving hopeless thoughts up is certified to curves that rise to {curve.height:g} within {curve.rise:g} "
        f"median thoughts, there at thresholds down to {profile.thresholds[i]:.2f}: that "
        f"{saves(1.0 - cost / tokens)} and {'costs' if lost >= 0 else 'gains'} {points(lost)} of accuracy on "
        "these questions"
    )


def pricing(profile: Profile) -> list[str]:
    """Tells what is certified of closing thoughts by their index, and what it does; nothing where it is not there."""
    tables = profile.index
    if tables is None:
        return []
    if profile.refused is not None or tables.refused is not None:
        return wrapped(f"Closing thoughts by a price is not certified: {profile.refused or tables.refused}")
    places = [i for i, j in tables.points() if i and not j]  # without a budget
    if not places:
        return wrapped("Closing thoughts by a price is certified nowhere: even the lowest price spoils too much")
    i = places[-1]
    accuracy, tokens = (np.average(np.array(table)[:, :, 0], axis=0, weights=profile.counts) for table in (
        tables.accuracy, tables.tokens
    ))  # fmt: skip
    lost = 100 * float(accuracy[0] - accuracy[i])
    return wrapped(
        f"Closing thoughts by their index is certified on {counted(tables.count, 'question')} up to a price of "
        f"{tables.prices[i - 1]:.2g} right answers a token: that {saves(1.0 - float(tokens[i] / tokens[0]))} and "
        f"{'costs' if lost >= 0 else 'gains'} {points(lost)} of accuracy on these questions; the index was fitted on "
        f"{tables.fitted:,} others"
    )


def answering_at_once(profile: Profile) -> list[str]:
    """Tells what is certified of answers without thought, and what they do; nothing where they are not tabulated."""
    tables = profile.no_thought
    if tables is None:
        return []
    if profile.refused is not None or tables.refused is not None:
        return wrapped(f"Answering at once is not certified: {profile.refused or tables.refused}")
    s, i, j = np.argwhere(np.array(tables.certified)[1:])[-1]
    right, cost = (
        float(np.average(np.array(table)[s, :, i, j], weights=profile.counts))
        for table in (tables.accuracy, tables.tokens)
    )
    (accuracy, tokens), threshold, budget = _mean(profile, i, j), profile.thresholds[i], profile.budgets[j]
    lost = 100 * (accuracy - right)
    beside = [
        *([] if threshold is None else [f"at confidence {threshold:.2f}"]),
        *([] if budget is None else [f"with a budget of {budget}"]),
    ]
    return wrapped(
        f"Answering at once is certified from a score of {tables.cut_offs[s]:g} on, which {tables.skipped[s]:.1%} of "
        f"the prompts reach, {' '.join(beside) or 'beside full thoughts'}: that {saves(1.0 - cost / tokens)} and "
        f"{'costs' if lost >= 0 else 'gains'} {points(lost)} of accuracy on these questions"
    )


def racing(profile: Profile) -> list[str]:
    """Tells what is certified of thoughts that race, and what it wins; nothing where it is not tabulated."""
    tables = profile.width
    if tables is None:
        return []
    if tables.refused is not None:
        return wrapped(f"Races of several thoughts are not certified: {tables.refused}")
    if not any(tables.certified):
        least = 100 * min(one.bound for one in tables.net)
        return wrapped(f"Races of several thoughts are certified nowhere: the least net loss may be {points(least)}")
    k = min((k for k, safe in enumerate(tables.certified) if safe), key=lambda k: tables.net[k].mean)
    rule, net = tables.rules[k], tables.net[k]
    cost = float(np.average(np.array(tables.tokens)[:, k], weights=tables.counts))
    way = "a vote of" if rule.vote else "the first to finish of"
    return wrapped(
        f"Races are certified on {tables.count} questions: {way} {rule.width} thoughts changes accuracy by "
        f"{-100 * net.mean:+.1f} points, by {-100 * net.bound:+.1f} at least, spoils a right first thought at "
        f"{100 * net.harm:.1f} % of the questions, and takes {cost:.0f} token rows a request"
    )


def _speed(profile: Profile) -> list[str]:
    step = profile.plant.step_time
    note = (
        "step: one pass over all running sequences, which brings each a token; probe: a trial answer beside a running "
        "thought; context: tokens that a sequence holds"
    )
    return [
        f"Step: {1e3 * step.a:.2f} ms + ({1e6 * step.c:.0f} us + {1e9 * step.g:.0f} ns per cached token) per "
        f"sequence, to {profile.plant.error:.0%}; up to {profile.plant.max_batch} sequences, mean context "
        f"{profile.plant.context:.0f}",
        f"Probe: {profile.probe.rows:.1f} token rows, {1e3 * profile.probe.seconds:.2f} ms",
        *wrapped(note, indent="  "),
    ]


def _evidence(profile: Profile) -> list[str]:
    """Tells why a certificate is refused, and how often exits answer otherwise, which the risk tells in part only."""
    if profile.refused is not None:
        return [f"NOT CERTIFIED: {profile.refused}. `laser serve` will not shorten thoughts by this profile."]
    bound = profile.certificate.differing
    if bound is None:
        return ["Exits that answer otherwise than the full thought: not recorded; without its records it is measured"]
    return [
        f"Certified exits that answer otherwise than the full thought, rightly or wrongly: for at most {bound:.1%} of "
        "the questions, at the same confidence"
    ]
