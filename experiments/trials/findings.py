"""An experiment's findings: the policies of each workload, their differences, and the best constant in hindsight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.request_record import RequestRecord
from experiments.statistics import Difference, difference
from experiments.trials.experiment import ClassSlo, Experiment, NamedPolicy
from experiments.trials.outcome import PolicyOutcome, outcome
from experiments.trials.paired import Paired, paired
from experiments.trials.setting import Setting
from experiments.trials.speed import machine, relative_speed
from experiments.trials.store import Store
from experiments.workloads import lasting_s

Runs = tuple[tuple[RequestRecord, ...], ...]  # by seed, in order of arrival, without the warm-up's requests


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFound:
    """The findings of one policy under one workload."""

    name: str
    outcome: PolicyOutcome
    lost: Difference | None  # accuracy lost against full thought; None: that is this policy, or did not run
    worst: tuple[str, Difference] | None  # the benchmark that loses most; None: as for `lost`
    against: dict[str, Paired]  # comparison with other policies, by their names
    speeds: tuple[float, ...]  # live, by seed: the machine's speed during the trial over the profile's


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFound:
    """The findings of one workload, policies in the experiment's order; `runs` are the records themselves."""

    name: str
    requests: int  # of all seeds
    questions: int  # distinct questions among the requests
    policies: dict[str, PolicyFound]
    best_threshold: str | None  # the constant threshold without budget of highest utility, in hindsight; None: none ran
    best_constant: str | None  # the constant threshold and budget of highest utility, in hindsight; None: none ran
    runs: Mapping[str, Runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The findings of all workloads."""

    experiment: Experiment
    latency_weight: float  # correct answers that one second of one user's waiting costs
    slo: ClassSlo
    workloads: tuple[WorkloadFound, ...]
    complete: int  # number of complete trials
    trials: int  # number of all trials
    origins: tuple[dict[str, object], ...]  # distinct machines, dates, versions and engines that ran trials
    notes: tuple[str, ...] = ()  # what comes again, ends early or never comes
    machine: str = ""  # what served, and how fast it decodes, in one line


def findings(setting: Setting, store: Store) -> Findings:
    """Computes the findings of the complete trials; a policy counts under a workload once all its seeds have run.

    Raises StoreError if a stored trial is of another experiment or unreadable.
    """
    experiment = setting.experiment
    runs: dict[str, dict[str, list[tuple[RequestRecord, ...]]]] = {}
    origins: dict[str, dict[str, object]] = {}
    speeds: dict[str, dict[str, list[float]]] = {}
    complete = 0
    for trial in setting.trials:
        described = setting.describe(trial)
        if not store.has(trial.slug, described):
            continue
        complete += 1
        records = store.read(trial.slug, described)
        if setting.live_plant is not None:
            speed = relative_speed(records, setting.live_plant)
            if speed is not None:
                speeds.setdefault(trial.workload.name, {}).setdefault(trial.policy.name, []).append(speed)
        runs.setdefault(trial.workload.name, {}).setdefault(trial.policy.name, []).append(counted(records, experiment))
        origin = store.origin(trial.slug)
        told = [origin.get(name) for name in ("processor", "versions", "commit", "served")]
        origins.setdefault(f"{str(origin.get('date'))[:10]} {told}", origin)
    whole = {
        workload: {name: tuple(by_seed) for name, by_seed in policies.items() if _whole(by_seed, experiment)}
        for workload, policies in runs.items()
    }
    return Findings(
        experiment=experiment,
        latency_weight=setting.latency_weight,
        slo=setting.slo,
        workloads=tuple(
            _workload(setting, name, whole[name], speeds.get(name, {}))
            for name in experiment.workload_names
            if whole.get(name)
        ),
        complete=complete,
        trials=len(setting.trials),
        origins=tuple(origins.values()),
        notes=setting.notes,
        machine=machine(setting, tuple(origins.values())),
    )


def counted(records: Sequence[RequestRecord], experiment: Experiment) -> tuple[RequestRecord, ...]:
    """Returns the records of requests that arrived after the warm-up."""
    return tuple(one for one in records if one.at_s >= experiment.warmup_s)


def best(candidates: Sequence[NamedPolicy], outcomes: Mapping[str, PolicyOutcome]) -> str | None:
    """Returns the name of the candidate with the highest utility; None: no candidate has run."""
    run = [one.name for one in candidates if one.name in outcomes]
    return max(run, key=lambda name: outcomes[name].utility, default=None)


def _whole(by_seed: Sequence[Sequence[RequestRecord]], experiment: Experiment) -> bool:
    return len(by_seed) == len(experiment.seeds) and any(one.error is None for records in by_seed for one in records)


def _workload(
    setting: Setting, name: str, runs: Mapping[str, Runs], speeds: Mapping[str, list[float]]
) -> WorkloadFound:
    experiment, slo, weight, some = setting.experiment, setting.slo, setting.latency_weight, next(iter(runs.values()))
    questions = asked(some, [setting.texts(seed) for seed in experiment.seeds])
    seconds = math.fsum(
        lasting_s(one.workload.arrivals, experiment.duration_s) - experiment.warmup_s
        for one in {one.seed: one for one in setting.trials if one.workload.name == name}.values()
    )
    outcomes = {policy: outcome(_all(of), slo, seconds=seconds, latency_weight=weight) for policy, of in runs.items()}
    constants = [one for one in experiment.all_policies if one.constant]
    thresholds = [one for one in constants if one.limits is not None and one.limits.budget is None]
    best_threshold = best(thresholds, outcomes)
    best_constant = best(constants, outcomes)
    references = dict.fromkeys(
        reference for reference in (experiment.baseline, best_threshold, best_constant) if reference in runs
    )

    def found(policy: str) -> PolicyFound:
        full = runs.get(experiment.full_thought) if policy != experiment.full_thought else None
        pairs = None if full is None else _pairs(full, runs[policy], questions)
        by_benchmark = {} if pairs is None else _by_benchmark(pairs)
        return PolicyFound(
            name=policy,
            outcome=outcomes[policy],
            lost=None if pairs is None else _lost(pairs),
            speeds=tuple(speeds.get(policy, ())),
            worst=max(by_benchmark.items(), key=lambda item: item[1].points_lost, default=None),
            against={
                reference: paired(
                    runs[reference],
                    runs[policy],
                    slo,
                    latency_weight=weight,
                    questions=questions,
                    rng=np.random.default_rng(0),
                )
                for reference in references
                if reference is not None and reference != policy
            },
        )

    return WorkloadFound(
        name=name,
        requests=sum(map(len, some)),
        questions=len(set(questions)),
        policies={one.name: found(one.name) for one in experiment.all_policies if one.name in runs},
        best_threshold=best_threshold,
        best_constant=best_constant,
        runs=runs,
    )


def asked(runs: Runs, texts: Sequence[Sequence[str] | None]) -> list[int]:
    """Returns a number for each request's question, seed by seed, the same wherever the question is the same.

    `texts`: by seed, those of the questions; None: a question's number tells it, the same for all such seeds.
    """
    places: dict[int | str, int] = {}
    return [
        places.setdefault(one.question if known is None else known[one.question], len(places))
        for known, records in zip(texts, runs, strict=True)
        for one in records
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One request under full thought and under another policy."""

    question: int
    benchmark: str
    before: bool  # right under full thought
    now: bool  # right under the other policy


def _pairs(full: Runs, runs: Runs, questions: Sequence[int]) -> list[_Pair]:
    both = zip(_all(full), _all(runs), questions, strict=True)
    return [
        _Pair(question=question, benchmark=one.benchmark, before=bool(one.right), now=bool(other.right))
        for one, other, question in both
    ]


def _by_benchmark(pairs: Sequence[_Pair]) -> dict[str, Difference]:
    names = dict.fromkeys(one.benchmark for one in pairs)
    return {name: _lost([one for one in pairs if one.benchmark == name]) for name in names}


def _lost(pairs: Sequence[_Pair]) -> Difference:
    """Returns the accuracy lost, in points."""
    return difference(
        np.array([one.before for one in pairs], dtype=np.bool_),
        np.array([one.now for one in pairs], dtype=np.bool_),
        np.random.default_rng(0),
        [one.question for one in pairs],
    )


def _all(runs: Runs) -> list[RequestRecord]:
    return [one for records in runs for one in records]
