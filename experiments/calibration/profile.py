"""Makes a model's profile from recorded thoughts: the tables, the certificate and the plant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from engine.base import CapacityError, Engine, ProbeSpec
from experiments.calibration.by_class import apart, counts_by_class, means_by_class, members_of, p95_by_class
from experiments.calibration.giving_up import class_medians, tabulated
from experiments.calibration.grid import Grid, grid
from experiments.calibration.no_thought import DirectAnswers, tabulated_at_once
from experiments.calibration.pricing import index as pricing
from experiments.calibration.step_times import (
    TIMING,
    Clock,
    Steadiness,
    TimedBatch,
    batches,
    decode_steps,
    fit,
    probe_seconds,
    steadiness,
)
from experiments.calibration.traces import BudgetChoice, ClosedReply, ThoughtTrace
from experiments.evaluation.sweeps import THRESHOLDS
from experiments.provenance import Provenance
from models.errors import LaserError
from models.profile.certificate import Certificate, certify, evidence, fewest_questions
from models.profile.difficulty import CLASSES, FEWEST, learn
from models.profile.identity import ModelIdentity
from models.profile.plant import mean_context
from models.profile.profile import FIXED, MeasuredPlant, PairedSquares, ProbeCost, Profile

PILOT = 48  # questions whose thought lengths choose the budgets; the certificate does not use them
PERCENTILES = (10, 25, 50, 75, 90, 97)  # of the pilot's thought lengths: the budgets
PROBED = 8  # sequences that are probed at once to measure the cost of a probe


class ShortOfData(LaserError, ValueError):
    """There are too few questions; the message names the number needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The level to certify: a risk of at most `epsilon`, with confidence 1 − `delta`."""

    epsilon: float = 0.03
    delta: float = 0.05


def check_count(count: int, levels: Levels, budgets: Sequence[int] | None, *, pilot: int | None = None) -> None:
    """Raises ShortOfData if `count` questions are too few to certify any point or to learn difficulty.

    `budgets` None: they are yet to be chosen. `pilot`: how many of the questions chose or choose them; None: PILOT if
    they are yet to be chosen, else none.
    """
    columns = 1 + (len(PERCENTILES) if budgets is None else len(budgets))
    if pilot is None:
        pilot = PILOT if budgets is None else 0
    certifying = fewest_questions(levels.epsilon, levels.delta, columns)
    needed = max(certifying + pilot, FEWEST)
    if count < needed:
        choosing = f", besides {pilot} that choose the budgets" if pilot else ""
        raise ShortOfData(
            f"there are {count} questions, must be at least {needed}: certifying a risk of at most {levels.epsilon:g} "
            f"at confidence {1 - levels.delta:g} takes {certifying} for {columns} budgets{choosing}, and telling "
            f"difficulty {FEWEST} of them: give -n {needed} or more, of each benchmark or file, or further --questions"
        )


def pilot(count: int, seed: int) -> list[int]:
    """Returns the numbers of the questions that choose the budgets: a seeded sample."""
    return sorted(np.random.default_rng(seed).permutation(count)[:PILOT].tolist())


def planned(
    keys: Sequence[str], seed: int, budgets: tuple[int, ...] | None, choice: BudgetChoice | None
) -> tuple[tuple[int, ...] | None, frozenset[int]]:
    """Returns a run's budgets, and the numbers of its questions that chose them or are to choose them.

    `keys`: of the questions, which may be asked twice. `budgets`: those that the user named, if any; `choice`: what an
    earlier run chose, which stands. None for the budgets: they are yet to be chosen.
    """
    if budgets is not None:
        return budgets, frozenset()
    chosen = {keys[number] for number in pilot(len(keys), seed)} if choice is None else set(choice.pilot)
    numbers = frozenset(number for number, key in enumerate(keys) if key in chosen)
    return None if choice is None else choice.budgets, numbers


def chosen_budgets(traces: Mapping[int, ThoughtTrace], numbers: Collection[int]) -> tuple[int, ...]:
    """Returns the distinct percentiles of these questions' full-thought lengths, tokens, as budgets."""
    lengths = [len(traces[number].thought) for number in numbers]
    return tuple(sorted({max(1, round(float(budget))) for budget in np.percentile(lengths, PERCENTILES)}))


def measured_plant(
    engine: Engine,
    traces: Sequence[ThoughtTrace],
    spec: ProbeSpec,
    *,
    max_batch: int,
    clock: Clock,
    cpu_clock: Clock | None = None,
) -> tuple[MeasuredPlant, ProbeCost, Steadiness]:
    """Times the engine's steps on the text of recorded thoughts, over batch sizes and the thoughts' context lengths.

    `cpu_clock`: seconds that this thread has run on a CPU; None: the engine computes elsewhere, too.
    """
    text = [token for one in traces for token in one.prompt + one.thought]
    starts = [len(one.prompt) for one in traces]
    ends = [len(one.prompt) + one.tokens for one in traces]
    context = mean_context(starts, [one.tokens for one in traces])
    shortest, longest = float(np.median(starts)), float(np.percentile(ends, 90))
    lengths = sorted({max(1, round(length)) for length in (shortest, context, longest)})

    def steps(batch: int, length: int) -> TimedBatch:
        endless = cycle(text)
        return decode_steps(engine, [tuple(islice(endless, length)) for _ in range(batch)], clock)

    with suppress(CapacityError):
        steps(1, lengths[0])  # warms up: a processor's or GPU's clock rises under load
    began_s, began_cpu_s = clock(), 0.0 if cpu_clock is None else cpu_clock()
    timed = []
    for batch in batches(max_batch):
        for length in lengths:
            with suppress(CapacityError):  # the engine cannot hold this batch at this length
                timed.append(steps(batch, length))
    found = fit(timed)
    steady = steadiness(
        timed,
        steps(timed[0].batch, lengths[0]),
        waited=None if cpu_clock is None else max(0.0, 1.0 - (cpu_clock() - began_cpu_s) / (clock() - began_s)),
    )
    probed = [one for one in traces if one.probes]
    chosen = probed[:: max(1, len(probed) // PROBED)][: min(PROBED, max_batch)]
    prompts = [one.prompt + one.thought[: one.probes[len(one.probes) // 2].thought_tokens] for one in chosen]
    return (
        MeasuredPlant(step_time=found.step_time, error=found.error, max_batch=max_batch, context=context),
        _probe_cost(engine, prompts, spec, clock),
        steady,
    )


def _probe_cost(engine: Engine, prompts: Sequence[tuple[int, ...]], spec: ProbeSpec, clock: Clock) -> ProbeCost:
    """Measures a probe's cost on these thoughts at once, halving their number until the engine holds them.

    Returns zero cost if there are no thoughts. Raises CapacityError if the engine cannot hold one thought.
    """
    if not prompts:
        return ProbeCost(rows=0.0, seconds=0.0)
    try:
        seconds, rows = probe_seconds(engine, prompts, spec, clock)
    except CapacityError:
        if len(prompts) == 1:
            raise
        return _probe_cost(engine, prompts[: len(prompts) // 2], spec, clock)
    return ProbeCost(rows=rows, seconds=seconds)


def profile(
    *,
    model: ModelIdentity,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    budgets: Sequence[int],
    unseen: Sequence[int],
    spec: ProbeSpec,
    levels: Levels,
    max_tokens: int,
    plant: MeasuredPlant,
    probe: ProbeCost,
    origin: Provenance,
    steady: Steadiness | None = None,
    looked: Mapping[str, float] | None = None,
    give_up: bool = False,
    price_index: bool = False,
    no_thought: int | None = None,
    benchmarks: Mapping[int, str] | None = None,
) -> Profile:
    """Builds the profile. `unseen`: numbers of the questions that did not choose the budgets; they certify.

    `steady`: how steady the machine was while the plant was measured; None: not known.
    `looked`: the looks at a certificate so far, this one included, as `experiments.calibration.looks` tells them; None:
    they are not counted. `give_up`: points at which hopeless thoughts are given up are tabulated, too; `price_index`:
    points at which thoughts are closed by their index.
    `no_thought`: the tokens of the landing, with which answers at once are tabulated, too; None: they are not.
    `benchmarks`: names by question's number; None: they are not told apart.
    """
    ordered = [traces[number] for number in sorted(traces)]
    replayed = grid(ordered, closings, THRESHOLDS, budgets, spec)
    learned = learn([one.prompt for one in ordered], [max(1, len(one.thought)) for one in ordered])
    member = np.array([[told == name for told in learned.observed] for name in CLASSES])
    tokens = replayed.tokens.astype(np.float64)
    made = Profile(
        model=model,
        score=spec.score.value,
        max_tokens=max_tokens,
        classes=CLASSES,
        counts=tuple(int(count) for count in member.sum(axis=1)),
        thresholds=replayed.thresholds,
        budgets=replayed.budgets,
        tokens=means_by_class(tokens, member),
        square=means_by_class(np.square(tokens), member),
        accuracy=means_by_class(replayed.right.astype(np.float64), member),
        p95_steps=p95_by_class(replayed.steps, member),
        certificate=_certificate(replayed, ordered, unseen, levels, member),
        plant=plant,
        probe=probe,
        difficulty=learned.difficulty,
        confusion=learned.confusion,
        explained=learned.explained,
        provenance={
            **asdict(origin),
            **({} if steady is None else {TIMING: asdict(steady)}),
            **({} if looked is None else {"looked": dict(looked)}),
        },
        paired=_paired(replayed, tokens, member),
        benchmarks=None if benchmarks is None else apart(replayed, ordered, unseen, benchmarks, member),
    )
    told = learned.observed
    if give_up:
        made = with_give_up(made, traces=traces, closings=closings, unseen=unseen, spec=spec, observed=told)
    if price_index:
        made = with_price_index(made, traces=traces, closings=closings, unseen=unseen, spec=spec, observed=told)
    if no_thought is None:
        return made
    return with_no_thought(
        made, traces=traces, closings=closings, unseen=unseen, spec=spec, observed=told, landing=no_thought
    )


def with_price_index(
    profile: Profile,
    *,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    unseen: Sequence[int],
    spec: ProbeSpec,
    observed: Sequence[str] | None = None,
) -> Profile:
    """Returns the profile with the points at which thoughts are closed by their index, tabulated on its own records.

    A half of the questions `unseen`, and all others, fit the index; the other half certifies. `observed` as for
    `with_give_up`.
    """
    ordered = [traces[number] for number in sorted(traces)]
    member = members_of(profile, ordered, observed)
    fitting = pricing.fitting_half(unseen) | (set(traces) - set(unseen))
    certificate = profile.certificate
    return replace(
        profile,
        index=pricing.tabulated(
            ordered,
            closings,
            spec,
            fitted=pricing.fit(ordered, member, fitting, profile.classes, spec),
            budgets=[budget for budget in profile.budgets if budget is not None],
            member=member,
            certifying=set(unseen) - fitting,
            epsilon=certificate.epsilon,
            delta=certificate.delta,
        ),
    )


def with_give_up(
    profile: Profile,
    *,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    unseen: Sequence[int],
    spec: ProbeSpec,
    observed: Sequence[str] | None = None,
) -> Profile:
    """Returns the profile with the points at which hopeless thoughts are given up, tabulated on its own records.

    Its other questions than `unseen` give the medians. `observed`: each question's class, in order, as a classifier
    told it that had not seen the question; None: it is learnt again, which gives the same.
    """
    ordered = [traces[number] for number in sorted(traces)]
    member = members_of(profile, ordered, observed)
    certificate = profile.certificate
    return replace(
        profile,
        give_up=tabulated(
            ordered,
            closings,
            spec,
            thresholds=[threshold for threshold in profile.thresholds if threshold is not None],
            budgets=[budget for budget in profile.budgets if budget is not None],
            medians=class_medians(ordered, member, set(traces) - set(unseen), profile.classes),
            member=member,
            unseen=unseen,
            epsilon=certificate.epsilon,
            delta=certificate.delta,
        ),
    )


def with_no_thought(
    profile: Profile,
    *,
    traces: Mapping[int, ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    unseen: Sequence[int],
    spec: ProbeSpec,
    landing: int,
    observed: Sequence[str] | None = None,
) -> Profile:
    """Returns the profile with the points at which prompts are answered at once, tabulated on its own records.

    `landing`: tokens that close a thought; `observed`: as for `with_give_up`. Raises TraceError if answers without
    thought were not recorded.
    """
    ordered = [traces[number] for number in sorted(traces)]
    thresholds = [threshold for threshold in profile.thresholds if threshold is not None]
    budgets = [budget for budget in profile.budgets if budget is not None]
    certificate = profile.certificate
    direct = DirectAnswers.of(ordered, closings, landing)
    return replace(
        profile,
        no_thought=tabulated_at_once(
            ordered,
            direct,
            grid(ordered, closings, thresholds, budgets, spec),
            member=members_of(profile, ordered, observed),
            unseen=unseen,
            epsilon=certificate.epsilon,
            delta=certificate.delta,
        ),
    )


def _paired(replayed: Grid, tokens: npt.NDArray[np.float64], member: npt.NDArray[np.bool_]) -> PairedSquares | None:
    """Returns the squared differences of `tokens` [question, threshold, budget] to two points of the same question."""
    if FIXED not in replayed.thresholds:
        return None
    fixed = replayed.thresholds.index(FIXED)
    full_thought, usual = (
        means_by_class(np.square(tokens - tokens[:, row, 0][:, None, None]), member) for row in (0, fixed)
    )
    return PairedSquares(full_thought=full_thought, fixed=usual)


def _certificate(
    replayed: Grid,
    traces: Sequence[ThoughtTrace],
    unseen: Sequence[int],
    levels: Levels,
    member: npt.NDArray[np.bool_],
) -> Certificate:
    counted = np.isin([one.number for one in traces], unseen)
    count = int(counted.sum())
    mine = [one for one, counts in zip(traces, counted, strict=True) if counts]
    differing = None if replayed.differing is None else replayed.differing[counted].sum(axis=0)
    seen = evidence(
        sum(one.right for one in mine),
        sum(one.ended for one in mine),
        differing,
        count=count,
        delta=levels.delta,
        by_class=counts_by_class(replayed, member & counted),
    )
    harmed = replayed.harmed[counted].sum(axis=0)
    return certify(harmed, count, epsilon=levels.epsilon, delta=levels.delta, evidence=seen)
