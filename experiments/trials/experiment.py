"""The definition of an experiment, a YAML file: its workloads, policies, seeds and measurements."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path

from controller.policies.auto import Auto
from controller.policies.budget import FixedBudget
from controller.policies.definition import constant_limits, has_controller, is_recorded, needs_profile
from controller.policies.fixed import FixedThreshold
from controller.policies.registry import AnyPolicy, kind_of
from controller.policy import Limits
from controller.settings import ControllerSettings
from experiments.calibration.traces import records_of
from experiments.synthetic.curves import Synthetic
from experiments.workloads import AnyWorkload
from models.files.checks import at_least, not_negative, one_line, positive
from models.files.strict_yaml import read
from models.profile.difficulty import CLASSES
from models.profile.profile import FILE_NAME
from models.reasoner import bundled_model


class Backend(StrEnum):
    """The backend that serves the requests."""

    LIVE = "live"  # `laser serve` on this machine, over HTTP
    SIMULATED = "simulated"  # the same loop and policies over recorded thoughts, on a virtual clock


class RateUnit(StrEnum):
    """The unit of the workloads' rates."""

    REQUESTS = "requests/s"  # as they stand, requests a second
    CAPACITY = "capacity"  # shares of the requests/s that the profile's machine can serve with full thought


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWorkload:
    """A workload with the name that reports use."""

    name: str  # of the workload, in reports
    arrivals: AnyWorkload  # when requests come: a `kind` and its settings

    def __post_init__(self) -> None:
        one_line(self, "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPolicy:
    """A policy with its settings and the name that reports use."""

    name: str  # of the policy, in reports
    policy: AnyPolicy  # a kind, or a mapping of `kind` and its settings
    shortest_first: bool = False  # admit by predicted length instead of arrival
    oracle: bool = False  # a probe's confidence is 1 if its answer is right, else next to 0; simulated only
    controller: ControllerSettings = field(default_factory=ControllerSettings)  # for the load-aware policies

    def __post_init__(self) -> None:
        one_line(self, "name")
        if isinstance(self.policy, Auto):
            raise ValueError("policy is auto, which only a server can resolve: name the policy")
        if self.oracle and not isinstance(self.policy, FixedThreshold):
            raise ValueError(f"oracle is set and policy is {self.kind}, must be fixed")

    @property
    def kind(self) -> str:
        """The policy's kind; of a user's own, `module:Name`."""
        return kind_of(self.policy)

    @property
    def limits(self) -> Limits | None:
        """The limits of a policy that never changes them; None: the policy may change them."""
        return constant_limits(self.policy)

    @property
    def needs_profile(self) -> bool:
        """Whether the policy needs the model's calibrated profile."""
        return needs_profile(self.policy)

    @property
    def has_controller(self) -> bool:
        """Whether the policy is the load-aware controller, with all of its operating points or some."""
        return has_controller(self.policy)

    @property
    def recorded(self) -> bool:
        """Whether the policy can be simulated from what calibration records."""
        return is_recorded(self.policy)

    @property
    def constant(self) -> bool:
        """Whether the policy applies one threshold and one budget to every request at all times."""
        limits = self.limits
        if limits is None or self.shortest_first or self.oracle:
            return False
        return limits.agree is None and limits.margin is None and limits.every is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindsight:
    """Constant settings that the experiment also runs, to find the best of them in hindsight."""

    thresholds: tuple[float, ...]  # confidences that are also run as constants
    budgets: tuple[int, ...] = ()  # thinking tokens that are also run as constants, alone and with each threshold

    def __post_init__(self) -> None:
        _ = self.policies()  # raises ValueError for invalid settings

    def policies(self) -> list[NamedPolicy]:
        """Returns each threshold and each budget, alone and in every combination."""
        return [
            _constant(threshold, budget)
            for threshold, budget in product((None, *self.thresholds), (None, *self.budgets))
            if (threshold, budget) != (None, None)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSlo:
    """The latency SLO, seconds from arrival to end, by difficulty class."""

    easy: float  # longest that an easy request should take, s
    medium: float  # longest that a medium request should take, s
    hard: float  # longest that a hard request, or one of unknown class, should take, s

    def __post_init__(self) -> None:
        for name in CLASSES:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} is {value} s, must be finite and above 0")

    def seconds(self, difficulty: str | None) -> float:
        """Returns a class's SLO; `difficulty` None: unknown, the hardest class's SLO."""
        return float(getattr(self, difficulty or "hard"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A grid of workloads × policies × seeds; all policies get the same requests for one workload and seed."""

    backend: Backend  # where the requests are served
    workloads: tuple[NamedWorkload, ...]  # when requests come, each with a name
    policies: tuple[NamedPolicy, ...]  # who closes thoughts, each with a name
    seeds: tuple[int, ...]  # one run of each workload and policy for each of them
    duration_s: float  # in which requests arrive; a run ends with its last reply
    slo_s: ClassSlo  # longest that a request should take, s, by class
    baseline: str  # the policy that the others are compared with
    full_thought: str  # the policy that accuracy losses are measured against
    rates: RateUnit = RateUnit.REQUESTS  # unit of the workloads' rates
    warmup_s: float = 0.0  # requests that arrive earlier are served but not counted
    hindsight: Hindsight | None = None  # constant settings that are run besides `policies`; None: none
    questions: int = 200  # of each benchmark, drawn anew for each seed; live only
    max_tokens: int = 768  # of a reply; in simulation it must equal the calibration's
    max_batch: int = 32  # sequences decoded at once
    latency_weight: float | None = None  # correct answers that one second of waiting costs in reports; None: default
    model: Path | None = None  # the model's directory; None: the bundled model
    profile: Path | None = None  # the model's profile; None: the one beside the model; simulated only
    records: Path | None = None  # what `laser calibrate` recorded; None: the records beside the profile; simulated only
    synthetic: Synthetic | None = None  # a synthetic reasoner; None: the one of `model`, `profile` and `records`

    def __post_init__(self) -> None:
        run = [one.name for one in self.all_policies]
        for what, names in (("workloads", self.workload_names), ("policies", run)):
            if not names:
                raise ValueError(f"{what} is empty, must have at least one entry")
            twice = [name for name, times in Counter(names).items() if times > 1]
            if twice:
                raise ValueError(f"{what} has {twice[0]!r} twice, names must differ")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds are {list(self.seeds)}, must be at least one, differ, and be at least 0")
        positive(self, "duration_s")
        if not 0.0 <= self.warmup_s < self.duration_s:
            raise ValueError(f"warmup_s is {self.warmup_s}, must be at least 0 and below duration_s, {self.duration_s}")
        at_least(self, 1, "questions", "max_tokens", "max_batch")
        not_negative(self, "latency_weight")
        for name in ("baseline", "full_thought"):
            if getattr(self, name) not in self.policy_names:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(self.policy_names)}")
        for name in ("model", "profile", "records"):
            if self.synthetic is not None and getattr(self, name) is not None:
                raise ValueError(f"{name} is {getattr(self, name)}, but synthetic is given: must not be")
        if self.rates is RateUnit.CAPACITY:
            for workload in self.workloads:
                if workload.arrivals.rate is None:
                    raise ValueError(
                        f"workload {workload.name!r} has no rate, but rates are shares of the capacity: give it one"
                    )
        files: dict[str, tuple[str, str]] = {}
        for pair in product(self.workload_names, run):
            other = files.setdefault(slug(*pair), pair)
            if other != pair:
                raise ValueError(
                    f"{pair[0]!r} with {pair[1]!r} and {other[0]!r} with {other[1]!r} would both be written to "
                    f"{slug(*pair)}-{self.seeds[0]}.jsonl: rename one"
                )
        for one in self.policies:
            if self.backend is Backend.SIMULATED and not one.recorded:
                raise ValueError(
                    f"policy {one.name!r} is {one.kind}, of which nothing was recorded: backend must be live"
                )
            if self.backend is Backend.SIMULATED and one.limits is not None and one.limits.every is not None:
                raise ValueError(
                    f"policy {one.name!r} has every {one.limits.every}, but probes were recorded at transition points "
                    "alone: backend must be live"
                )
        if self.backend is Backend.LIVE:
            for name in ("profile", "records", "synthetic"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is {getattr(self, name)}, but backend is live: must not be given")
            for one in self.policies:
                if one.oracle:
                    raise ValueError(f"policy {one.name!r} is an oracle, which backend live cannot have")

    @property
    def directory(self) -> Path:
        """The model's directory."""
        return self.model or bundled_model()

    @property
    def profile_file(self) -> Path:
        """The path of the model's profile, whether it exists or not."""
        return self.profile or self.directory / FILE_NAME

    @property
    def records_file(self) -> Path:
        """The path of the recorded thoughts that simulation replays."""
        return self.records or records_of(self.profile_file)

    @property
    def workload_names(self) -> list[str]:
        return [one.name for one in self.workloads]

    @property
    def policy_names(self) -> list[str]:
        return [one.name for one in self.policies]

    @property
    def all_policies(self) -> tuple[NamedPolicy, ...]:
        """The named policies, and the hindsight's policies that are not among them."""
        if self.hindsight is None:
            return self.policies
        named = {one.limits for one in self.policies if one.constant}
        return self.policies + tuple(one for one in self.hindsight.policies() if one.limits not in named)


def read_experiment(path: Path) -> Experiment:
    """Reads the experiment in a YAML file. Raises ConfigError, which names file, line and key."""
    return read(path, Experiment)


def slug(workload: str, policy: str) -> str:
    """Returns both names as the stem of a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", f"{workload} {policy}".lower()).strip("-")


def _constant(threshold: float | None, budget: int | None) -> NamedPolicy:
    if threshold is None:
        return NamedPolicy(name=f"budget {budget}", policy=FixedBudget(budget=budget))
    name = f"threshold {threshold:g}" + (f", budget {budget}" if budget is not None else "")
    return NamedPolicy(name=name, policy=FixedThreshold(threshold=threshold, budget=budget))
