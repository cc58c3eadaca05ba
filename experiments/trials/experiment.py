"""The definition of an experiment, a YAML file: its workloads, policies, seeds and measurements."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import ClassVar

from controller.policies.auto import Auto
from controller.policies.budget import FixedBudget
from controller.policies.definition import constant_limits, has_controller, is_recorded, needs_profile
from controller.policies.fixed import FixedThreshold
from controller.policies.registry import POLICIES, NamedKind, kind_of
from controller.policy import Limits
from controller.settings import ControllerSettings
from engine.registry import AUTO, AutoOptions
from experiments.calibration.traces import records_of
from experiments.synthetic.curves import Synthetic
from experiments.workloads import AnyWorkload
from laser.server.config import AnyEngine
from models.errors import Faults
from models.files.checks import at_least, not_negative, one_line, positive
from models.files.nearest import meant
from models.files.strict_yaml import read
from models.hub.name import ModelPath
from models.profile.difficulty import CLASSES
from models.profile.profile import profile_of
from models.reasoner import bundled_model
from models.thinking import FormatFile

SAFE = 0.95  # the threshold of a constant that is taken to be safe


class Backend(StrEnum):
    """The backend that serves the requests."""

    AUTO = "auto"  # live if a model is named and no profile or records, else simulated; an Experiment never stays so
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
    policy: NamedKind  # a kind but `auto`, or a mapping of `kind` and its settings
    shortest_first: bool = False  # admit by predicted length instead of arrival
    oracle: bool = False  # a probe's confidence is 1 if its answer is right, else next to 0; simulated only
    controller: ControllerSettings = field(default_factory=ControllerSettings)  # for the load-aware policies

    def __post_init__(self) -> None:
        one_line(self, "name")
        if isinstance(self.policy, Auto):
            raise ValueError("policy is auto, which only a server can resolve: name the policy")
        if self.oracle and not isinstance(self.policy, FixedThreshold):
            raise ValueError(f"oracle is set and policy is {self.kind}, must be fixed")
        if self.kind in POLICIES and not self.has_controller and self.controller != ControllerSettings():
            raise ValueError(f"controller has settings, but policy is {self.kind}, which has no controller")

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
class QuestionSource:
    """Which questions are asked: those of the bundled benchmarks, or those in files.

    In YAML a number stands for `count`, a file or a list of files for `files`.
    """

    SHORT: ClassVar[dict[str, str]] = {"int": "count", "str": "files", "seq": "files"}

    files: tuple[Path, ...] = ()  # JSON Lines, as `laser calibrate --questions` takes them; (): the bundled benchmarks
    count: int | None = None  # of each benchmark, drawn anew for each seed; None: 200; live only

    def __post_init__(self) -> None:
        at_least(self, 1, "count")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSlo:
    """The latency SLO, seconds from arrival to end, by difficulty class."""

    easy: float  # longest that an easy request should take, s
    medium: float  # longest that a medium request should take, s
    hard: float  # longest that a hard request, or one of unknown class, should take, s

    def __post_init__(self) -> None:
        positive(self, *CLASSES)

    def seconds(self, difficulty: str | None) -> float:
        """Returns a class's SLO; `difficulty` None: unknown, the hardest class's SLO."""
        return float(getattr(self, difficulty or "hard"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A grid of workloads × policies × seeds; all policies get the same requests for one workload and seed."""

    workloads: tuple[NamedWorkload, ...]  # when requests come, each with a name
    policies: tuple[NamedPolicy, ...]  # who closes thoughts, each with a name
    seeds: tuple[int, ...]  # one run of each workload and policy for each of them
    duration_s: float  # in which requests arrive; a run ends with its last reply
    backend: Backend = Backend.AUTO  # where the requests are served
    slo_s: ClassSlo | None = None  # longest that a request should take, s, by class; None: by the profile
    baseline: str = ""  # the policy that the others are compared with; "": of fixed thresholds the one nearest .95
    full_thought: str = ""  # the policy that accuracy losses are measured against; "": the one that is `none`
    rates: RateUnit = RateUnit.REQUESTS  # unit of the workloads' rates
    warmup_s: float = 0.0  # requests that arrive earlier are served but not counted
    hindsight: Hindsight | None = None  # constant settings that are run besides `policies`; None: none
    questions: QuestionSource = field(default_factory=QuestionSource)  # simulated: the files of the calibration
    max_tokens: int | None = None  # of a reply; None: live 768, in simulation the calibration's, which it must equal
    max_batch: int = 32  # sequences decoded at once
    latency_weight: float | None = None  # correct answers that one second of waiting costs in reports; None: default
    model: ModelPath | None = None  # its directory or its name on the hub; None: the bundled model
    thinking: FormatFile | None = None  # thinking format, its file or name; None: `laser.yaml`, else the defaults
    engine: AnyEngine = field(default_factory=AutoOptions)  # what decodes, and its options; live only
    threads: int | None = None  # of the engine's arithmetic; None: as `laser serve`; live only
    profile: Path | None = None  # the model's profile; None: the one beside the model; simulated only
    records: Path | None = None  # what `laser calibrate` recorded; None: the records beside the profile; simulated only
    synthetic: Synthetic | None = None  # a synthetic reasoner; None: the one of `model`, `profile` and `records`

    def __post_init__(self) -> None:
        if self.backend is Backend.AUTO:
            live = self.model is not None and self.profile is None and self.records is None
            object.__setattr__(self, "backend", Backend.LIVE if live else Backend.SIMULATED)
        if not self.full_thought:
            object.__setattr__(self, "full_thought", _full_thought(self.policies))
        if not self.baseline:
            object.__setattr__(self, "baseline", _safe_constant(self.policies) or self.full_thought)
        faults = [*self._faults(), *self._clashes(), *self._of_backend()]
        if faults:
            raise Faults(*faults)

    def _faults(self) -> Iterator[str]:
        """What is wrong with single keys."""
        run = [one.name for one in self.all_policies]
        for what, names in (("workloads", self.workload_names), ("policies", run)):
            if not names:
                yield f"{what} is empty, must have at least one entry"
            for name, times in Counter(names).items():
                if times > 1:
                    yield f"{what} has {name!r} twice, names must differ"
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            yield f"seeds are {list(self.seeds)}, must be at least one, differ, and be at least 0"
        for check in (
            partial(positive, self, "duration_s"),
            *(partial(at_least, self, 1, name) for name in ("max_tokens", "max_batch", "threads")),
            partial(not_negative, self, "latency_weight"),
        ):
            try:
                check()
            except ValueError as error:
                yield str(error)
        if self.duration_s > 0.0 and not 0.0 <= self.warmup_s < self.duration_s:
            yield f"warmup_s is {self.warmup_s}, must be at least 0 and below duration_s, {self.duration_s}"
        if not self.full_thought and self.policies:
            yield "full_thought is not given, and no one of policies is `none`: add {name: full thought, policy: none}"
        for name in ("baseline", "full_thought"):
            said = getattr(self, name)
            if said and said not in self.policy_names:
                known = ", ".join(self.policy_names)
                yield f"{name} is {said!r}, must be one of policies: {known}{meant(said, self.policy_names)}"
        if "max_batch" in self.engine.changed:
            yield "engine has max_batch, which an experiment states beside it: must be `max_batch` alone"

    def _clashes(self) -> Iterator[str]:
        """What cannot stand together."""
        for name in ("model", "thinking", "profile", "records"):
            if self.synthetic is not None and getattr(self, name) is not None:
                yield f"{name} is {getattr(self, name)}, but synthetic is given: must not be"
        if self.synthetic is not None and self.questions.files:
            yield "questions has files, but synthetic is given, which asks none: must not be"
        if self.rates is RateUnit.CAPACITY:
            for workload in self.workloads:
                if workload.arrivals.rate is None:
                    yield f"workload {workload.name!r} has no rate, but rates are shares of the capacity: give it one"
        files: dict[str, tuple[str, str]] = {}
        for pair in product(dict.fromkeys(self.workload_names), dict.fromkeys(one.name for one in self.all_policies)):
            other = files.setdefault(slug(*pair), pair)
            if other != pair:
                yield (
                    f"{pair[0]!r} with {pair[1]!r} and {other[0]!r} with {other[1]!r} would both be written to "
                    f"{slug(*pair)}-{next(iter(self.seeds), 0)}.jsonl: rename one"
                )

    def _of_backend(self) -> Iterator[str]:
        """What the backend cannot have."""
        live = self.backend is Backend.LIVE
        for name in ("profile", "records", "synthetic") if live else ("threads",):
            if getattr(self, name) is not None:
                reads = ", which reads the profile beside the model" if name == "profile" else ""
                yield f"{name} is {getattr(self, name)}, but backend is {self.backend}{reads}: must not be given"
        if not live and (self.engine.kind != AUTO or self.engine.changed):
            yield f"engine is {self.engine.kind}, but backend is simulated, which decodes nothing: must not be given"
        if not live and self.questions.count is not None:
            yield (
                f"questions has the count {self.questions.count}, but backend is simulated, which asks those of the "
                "calibration: must not be given"
            )
        for one in self.policies:
            if live and one.oracle:
                yield f"policy {one.name!r} is an oracle, which backend live cannot have"
            if not live and not one.recorded:
                yield f"policy {one.name!r} is {one.kind}, of which nothing was recorded: backend must be live"
            if not live and one.limits is not None and one.limits.every is not None:
                yield (
                    f"policy {one.name!r} has every {one.limits.every}, but probes were recorded at transition points "
                    "alone: backend must be live"
                )

    @property
    def directory(self) -> Path:
        """The model's directory."""
        return self.model or bundled_model()

    @property
    def profile_file(self) -> Path:
        """The path of the model's profile, whether it exists or not."""
        return self.profile or profile_of(self.directory)

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


def _full_thought(policies: Sequence[NamedPolicy]) -> str:
    """Returns the name of the first policy that leaves thoughts alone; empty: there is none."""
    return next((one.name for one in policies if one.kind == "none" and not one.shortest_first), "")


def _safe_constant(policies: Sequence[NamedPolicy]) -> str:
    """Returns the name of the constant threshold nearest to SAFE, the stricter of two; empty: there is none."""
    found = [
        (abs(one.limits.threshold - SAFE), -one.limits.threshold, one.name)
        for one in policies
        if one.constant and one.limits is not None and one.limits.threshold is not None and one.limits.budget is None
    ]
    return min(found)[2] if found else ""


def _constant(threshold: float | None, budget: int | None) -> NamedPolicy:
    if threshold is None:
        return NamedPolicy(name=f"budget {budget}", policy=FixedBudget(budget=budget))
    name = f"threshold {threshold:g}" + (f", budget {budget}" if budget is not None else "")
    return NamedPolicy(name=name, policy=FixedThreshold(threshold=threshold, budget=budget))
