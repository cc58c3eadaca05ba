"""Searches the controller's settings on training seeds, and evaluates the best settings on other seeds.

The search maximises the mean utility over the experiment's workloads. It tries the experiment's own settings first, so
the best settings are never worse on the training seeds; only the other seeds show whether they are better. The other
seeds have other arrivals and the same recorded questions. A search that was killed resumes where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from controller.settings import ControllerSettings
from experiments.progress import Reporter, Silent
from experiments.request_record import RequestRecord
from experiments.trials.experiment import Backend, NamedPolicy
from experiments.trials.findings import asked, counted
from experiments.trials.outcome import PolicyOutcome, outcome
from experiments.trials.paired import Estimate, Paired, paired
from experiments.trials.running import Play
from experiments.trials.setting import Setting
from experiments.trials.store import StoreError
from experiments.trials.trial import Trial, described, scaled
from models.files.appended import drop_torn_line
from models.files.replacement import replacing, told_of
from models.files.text import decode_json
from models.files.yaml_nodes import dumped

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A setting to search, named by its keys, and the range of its values."""

    keys: tuple[str, ...]
    low: float  # a range [low, high] that misses the experiment's own value is widened to it
    high: float
    log: bool = True  # whether values are searched on a logarithmic scale

    @property
    def name(self) -> str:
        return ".".join(self.keys)


KNOBS = (
    Knob(keys=("inner_s",), low=0.1, high=2.0),
    Knob(keys=("outer_s",), low=1.0, high=20.0),
    Knob(keys=("change",), low=0.05, high=0.5),
    Knob(keys=("objective", "latency_weight"), low=1e-4, high=1e-1),
    Knob(keys=("objective", "max_load"), low=0.8, high=0.99, log=False),
    Knob(keys=("objective", "threshold_rate"), low=1e-3, high=1.0),
    Knob(keys=("objective", "stickiness"), low=1e-6, high=1e-2),
    Knob(keys=("estimator", "arrivals", "slow"), low=1e-3, high=4e-2),
    Knob(keys=("estimator", "arrivals", "fast"), low=5e-2, high=5e-1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Settings that were tried, and their mean utility over training seeds and workloads, correct answers/request."""

    values: dict[str, float]
    utility: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What the best settings are worth on seeds that the search has not seen: utility, correct answers per request."""

    before: float  # with the experiment's own settings
    after: float
    change: Paired  # in points


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best settings found, and their effect against the experiment's own settings on the held-out seeds."""

    settings: ControllerSettings
    tried: tuple[Tried, ...]  # the experiment's own first
    best: Tried
    held_out: dict[str, Paired]  # by workload
    worth: Worth  # over the requests of all workloads
    seeds: tuple[int, ...]  # the held-out ones

    @property
    def changed(self) -> dict[str, tuple[float, float]]:
        """The settings that the search has changed, with the old value and the new one."""
        own = self.tried[0].values
        return {name: (own[name], value) for name, value in self.best.values.items() if value != own[name]}


def tune(
    setting: Setting,
    policy: NamedPolicy,
    training: Sequence[int],
    *,
    attempts: int,
    play: Play,
    journal: Path,
    reporter: Reporter | None = None,
) -> Tuned:
    """Tries `attempts` settings of a load-aware policy, counting those that the journal already holds.

    `reporter` None: nobody is told of the progress. Raises ValueError if the experiment is live, if the policy has no
    controller or there is no profile, if seeds overlap, or if a setting cannot be searched, and StoreError if the
    journal is damaged. Nobody else may use the journal meanwhile.
    """
    experiment = setting.experiment
    if experiment.backend is not Backend.SIMULATED:
        raise ValueError(f"backend is {experiment.backend}, must be simulated: live, each setting would take hours")
    if not policy.has_controller:
        raise ValueError(f"policy {policy.name!r} is {policy.kind}, which has no controller to tune")
    both = sorted({*training} & {*experiment.seeds})
    if both:
        raise ValueError(f"seed {both[0]} is for training and for reporting, must be for one of them")
    if setting.profile is None:
        raise ValueError(f"policy {policy.name!r} needs a profile, and there is none")
    wishes = policy.controller.objective.at(setting.profile.reply_s)
    policy = replace(policy, controller=replace(policy.controller, objective=wishes))
    own = {knob.name: _value(policy.controller, knob) for knob in KNOBS}
    for knob in KNOBS:
        if knob.log and own[knob.name] <= 0.0:
            raise ValueError(f"{knob.name} is {own[knob.name]:g}, must be above 0 to be searched")
    ranges = {knob.name: (min(knob.low, own[knob.name]), max(knob.high, own[knob.name])) for knob in KNOBS}

    def judge(trial: optuna.Trial) -> float:
        values = {knob.name: trial.suggest_float(knob.name, *ranges[knob.name], log=knob.log) for knob in KNOBS}
        try:
            tried = with_values(policy, values)
        except ValueError as error:  # the combination of settings is invalid
            raise optuna.TrialPruned(str(error)) from error
        return _utility(setting, tried, training, play)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mend(journal)
    study = optuna.create_study(
        study_name=_name(setting, policy, training),
        storage=JournalStorage(_Journal(journal)),
        load_if_exists=True,
        direction="maximize",
    )
    done = _tried(study)
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))  # a resumed search draws other values
    if not any(one.values == own for one in done):
        study.enqueue_trial(own)
    left, reporter = max(0, attempts - len(done)), Silent() if reporter is None else reporter
    with reporter.stage("Tuning", len(done) + left, done=len(done)) as advance:
        study.optimize(judge, n_trials=left, callbacks=[lambda *_: advance(1)])
    tried = sorted(_tried(study), key=lambda one: one.values != own)
    best = max(tried, key=lambda one: one.utility)
    found = with_values(policy, best.values)
    return Tuned(
        settings=found.controller,
        tried=tuple(tried),
        best=best,
        **_held_out(setting, policy, found, play),
        seeds=experiment.seeds,
    )


class _Journal(JournalFileBackend):
    """The journal on the disk; if it cannot be written, the error names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with told_of(path):
            super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with told_of(self._path):
            super().append_logs(logs)


def mend(journal: Path) -> None:
    """Drops the line that a killed search has torn, and the lock that it has left; tells the line in the log.

    Raises StoreError, which names the line, if any other line is damaged.
    """
    if not journal.exists():
        return
    with told_of(journal):
        journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
        if torn := drop_torn_line(journal):
            log.warning("%s:%d: was cut off, and is dropped", journal, torn)
        lines = journal.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            if not isinstance(decode_json(line), dict):
                raise ValueError("must be an object")
        except ValueError as error:
            raise StoreError(
                f"{journal}:{number}: is no line of a tuning's journal: {error}; remove the file to begin anew"
            ) from error


def _name(setting: Setting, policy: NamedPolicy, training: Sequence[int]) -> str:
    """Returns a hash of everything that determines the utility of settings."""
    said = [setting.describe(trial) for trial in _trials(setting, policy, training)]
    said.append({"slo_s": described(setting.slo), "warmup_s": setting.experiment.warmup_s})
    text = json.dumps([said, setting.latency_weight, described(KNOBS)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _tried(study: optuna.Study) -> list[Tried]:
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return [Tried(values=one.params, utility=float(one.values[0])) for one in complete]


def write(directory: Path, found: Tuned) -> list[Path]:
    """Writes controller.yaml, for `laser serve --controller`, and tuning.json; returns their paths."""
    said = {
        "best": asdict(found.best),
        "changed": {name: {"old": old, "new": new} for name, (old, new) in found.changed.items()},
        "worth": {"seeds": found.seeds, **asdict(found.worth)},
        "held_out": {workload: asdict(change) for workload, change in found.held_out.items()},
        "tried": [asdict(one) for one in found.tried],
    }
    texts = {
        "controller.yaml": dumped(described(found.settings)),
        "tuning.json": json.dumps(said, allow_nan=False, indent=1) + "\n",
    }
    for name, text in texts.items():
        with replacing(directory / name) as draft:
            draft.write_text(text, encoding="utf-8")
    return [directory / name for name in texts]


def summary(found: Tuned) -> str:
    """Formats the search as text for the terminal: what it changed, what that is worth, then the tables."""
    own = found.tried[0]
    seeds = f"seed{'s' if len(found.seeds) > 1 else ''} {', '.join(map(str, found.seeds))}"
    if not found.changed:
        return (
            f"Nothing is changed: of {len(found.tried)} settings tried, none was better on the training seeds than the "
            f"experiment's own, {100 * own.utility:.2f} points of utility."
        )
    lines = [
        f"{len(found.changed)} of {len(own.values)} settings are changed:",
        "",
        *(f"  {name:<32}{old:.4g} → {new:.4g}" for name, (old, new) in found.changed.items()),
        "",
        _verdict(found.worth, seeds),
        f"On the training seeds it was {100 * own.utility:.2f} points before and {100 * found.best.utility:.2f} after "
        f"{len(found.tried)} settings: chosen as the best, so no measure of what they are worth.",
        "",
        f"On {seeds}, after against before, with 95 % intervals:",
        f"{'workload':<32}{'utility, points':>26}{'mean latency %':>26}{'accuracy, points':>26}",
    ]
    for workload, change in {**found.held_out, "all": found.worth.change}.items():
        cells = (_cell(change.utility), _cell(change.latency, 100.0), _cell(change.accuracy))
        lines.append(f"{workload:<32}" + "".join(f"{cell:>26}" for cell in cells))
    lines += ["", "Utility is the share of right answers less what waiting costs, in points of a hundred."]
    return "\n".join(lines)


def _verdict(worth: Worth, seeds: str) -> str:
    """Says in a sentence what the settings are worth."""
    change = worth.change.utility
    said = (
        f"What that is worth, on {seeds}, which the search has not seen: utility is {100 * worth.before:.2f} points "
        f"before and {100 * worth.after:.2f} after, {_cell(change)}."
    )
    if change is None or change.low <= 0.0 <= change.high:
        return said + " The interval holds 0: no gain is shown."
    return said + (" That is a gain." if change.low > 0.0 else " That is a loss: keep the old settings.")


def _cell(of: Estimate | None, scale: float = 1.0) -> str:
    return "–" if of is None else f"{scale * of.value:+.2f} [{scale * of.low:+.2f}, {scale * of.high:+.2f}]"


def with_values(policy: NamedPolicy, values: dict[str, float]) -> NamedPolicy:
    """Returns the policy with these settings."""
    settings = policy.controller
    for knob in KNOBS:
        settings = _changed(settings, knob.keys, values[knob.name])
    return replace(policy, controller=settings)


def _utility(setting: Setting, policy: NamedPolicy, seeds: Sequence[int], play: Play) -> float:
    experiment = setting.experiment
    played = play(_trials(setting, policy, seeds))
    by_workload = [played[place : place + len(seeds)] for place in range(0, len(played), len(seeds))]
    return math.fsum(
        _outcome(setting, [one for run in runs for one in counted(run, experiment)]).utility for runs in by_workload
    ) / len(by_workload)


def _outcome(setting: Setting, records: Sequence[RequestRecord]) -> PolicyOutcome:
    seconds, weight = setting.experiment.duration_s, setting.latency_weight
    return outcome(records, setting.slo, seconds=seconds, latency_weight=weight)


def _held_out(setting: Setting, before: NamedPolicy, now: NamedPolicy, play: Play) -> dict[str, Any]:
    """Returns `held_out` and `worth` of the settings."""
    experiment, seeds = setting.experiment, setting.experiment.seeds
    old, new = ([counted(run, experiment) for run in play(_trials(setting, policy, seeds))] for policy in (before, now))

    def compared(runs: slice) -> Paired:
        return paired(
            old[runs],
            new[runs],
            setting.slo,
            latency_weight=setting.latency_weight,
            questions=asked(tuple(old[runs]), [None] * len(old[runs])),
            rng=np.random.default_rng(0),
        )

    def utility(runs: Sequence[Sequence[RequestRecord]]) -> float:
        return _outcome(setting, [one for run in runs for one in run]).utility

    starts = range(0, len(old), len(seeds))
    return {
        "held_out": {
            workload.name: compared(slice(start, start + len(seeds)))
            for start, workload in zip(starts, experiment.workloads, strict=True)
        },
        "worth": Worth(before=utility(old), after=utility(new), change=compared(slice(None))),
    }


def _trials(setting: Setting, policy: NamedPolicy, seeds: Sequence[int]) -> list[Trial]:
    """Returns the policy's trials, workload by workload."""
    experiment = setting.experiment
    return [
        Trial(workload=scaled(workload, experiment.rates, setting.capacity), policy=policy, seed=seed)
        for workload, seed in product(experiment.workloads, seeds)
    ]


def _value(settings: Any, knob: Knob) -> float:
    for key in knob.keys:
        settings = getattr(settings, key)
    return float(settings)


def _changed(settings: Any, keys: tuple[str, ...], value: float) -> Any:
    inner = _changed(getattr(settings, keys[0]), keys[1:], value) if len(keys) > 1 else value
    return replace(settings, **{keys[0]: inner})
