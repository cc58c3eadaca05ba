"""What an experiment found: each workload's policies, what they change, and the best constant setting in hindsight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.request_record import RequestRecord
from experiments.statistics import Difference, difference
from experiments.trials.experiment import Experiment, NamedPolicy
from experiments.trials.outcome import Outcome, outcome
from experiments.trials.paired import Paired, paired
from experiments.trials.setting import Setting
from experiments.trials.store import Store

Runs = tuple[tuple[RequestRecord, ...], ...]  # by seed, in order of arrival; what came during the warm-up left out


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFound:
    """A policy under a workload."""

    name: str
    outcome: Outcome
    lost: Difference | None  # accuracy against full thought; None: that is what it is, or it has not been run
    worst: tuple[str, Difference] | None  # the benchmark that loses most
    against: dict[str, Paired]  # other policies by their names


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFound:
    """A workload's policies in the experiment's order; `runs` are the records themselves."""

    name: str
    requests: int  # of all seeds
    policies: dict[str, PolicyFound]
    best_threshold: str | None  # the best constant one without a budget, in hindsight, by utility
    best_constant: str | None  # the best constant threshold and budget
    runs: Mapping[str, Runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of it."""

    experiment: Experiment
    latency_weight: float  # correct answers that one second of one user's waiting is worth
    workloads: tuple[WorkloadFound, ...]
    complete: int  # trials
    trials: int
    origins: tuple[dict[str, object], ...]  # where and when trials ran, each once


def findings(setting: Setting, store: Store) -> Findings:
    """What is complete: a policy counts under a workload once all its seeds have been run. Raises StoreError."""
    experiment = setting.experiment
    runs: dict[str, dict[str, list[tuple[RequestRecord, ...]]]] = {}
    origins: dict[str, dict[str, object]] = {}
    complete = 0
    for trial in setting.trials:
        described = setting.describe(trial)
        if not store.has(trial.slug, described):
            continue
        complete += 1
        records = store.read(trial.slug, described)
        counted = tuple(one for one in records if one.at_s >= experiment.warmup_s)
        runs.setdefault(trial.workload.name, {}).setdefault(trial.policy.name, []).append(counted)
        origin = store.origin(trial.slug)
        origins.setdefault(f"{origin['date'][:10]} {origin['processor']} {origin['versions']}", origin)
    whole = {
        workload: {name: tuple(by_seed) for name, by_seed in policies.items() if _whole(by_seed, experiment)}
        for workload, policies in runs.items()
    }
    return Findings(
        experiment=experiment,
        latency_weight=setting.latency_weight,
        workloads=tuple(
            _workload(experiment, name, whole[name], setting.latency_weight)
            for name in experiment.workload_names
            if whole.get(name)
        ),
        complete=complete,
        trials=len(setting.trials),
        origins=tuple(origins.values()),
    )


def best(candidates: Sequence[NamedPolicy], outcomes: Mapping[str, Outcome]) -> str | None:
    """The candidate of the highest utility, of those that were run."""
    run = [one.name for one in candidates if one.name in outcomes]
    return max(run, key=lambda name: outcomes[name].utility, default=None)


def _whole(by_seed: Sequence[Sequence[RequestRecord]], experiment: Experiment) -> bool:
    return len(by_seed) == len(experiment.seeds) and any(one.error is None for records in by_seed for one in records)


def _workload(experiment: Experiment, name: str, runs: Mapping[str, Runs], weight: float) -> WorkloadFound:
    slo = experiment.slo_s
    seconds = (experiment.duration_s - experiment.warmup_s) * len(experiment.seeds)
    outcomes = {policy: outcome(_all(of), slo, seconds=seconds, latency_weight=weight) for policy, of in runs.items()}
    constants = [one for one in experiment.all_policies if one.constant]
    best_threshold = best([one for one in constants if one.budget is None], outcomes)
    best_constant = best(constants, outcomes)
    references = dict.fromkeys(
        reference for reference in (experiment.baseline, best_threshold, best_constant) if reference in runs
    )

    def found(policy: str) -> PolicyFound:
        full = runs.get(experiment.full_thought) if policy != experiment.full_thought else None
        by_benchmark = {} if full is None else _by_benchmark(full, runs[policy])
        return PolicyFound(
            name=policy,
            outcome=outcomes[policy],
            lost=None if full is None else _lost(_all(full), _all(runs[policy])),
            worst=max(by_benchmark.items(), key=lambda item: item[1].points_lost, default=None),
            against={
                reference: paired(
                    runs[reference], runs[policy], slo, latency_weight=weight, rng=np.random.default_rng(0)
                )
                for reference in references
                if reference is not None and reference != policy
            },
        )

    return WorkloadFound(
        name=name,
        requests=sum(map(len, next(iter(runs.values())))),
        policies={one.name: found(one.name) for one in experiment.all_policies if one.name in runs},
        best_threshold=best_threshold,
        best_constant=best_constant,
        runs=runs,
    )


def _by_benchmark(full: Runs, runs: Runs) -> dict[str, Difference]:
    pairs: dict[str, list[tuple[RequestRecord, RequestRecord]]] = {}
    for one, other in zip(_all(full), _all(runs), strict=True):
        pairs.setdefault(one.benchmark, []).append((one, other))
    return {name: _lost([one for one, _ in mine], [other for _, other in mine]) for name, mine in pairs.items()}


def _lost(before: Sequence[RequestRecord], now: Sequence[RequestRecord]) -> Difference:
    """Points of accuracy, request by request."""
    rights = [np.array([bool(one.right) for one in records], dtype=np.bool_) for records in (before, now)]
    return difference(rights[0], rights[1], np.random.default_rng(0))


def _all(runs: Runs) -> list[RequestRecord]:
    return [one for records in runs for one in records]
