"""Chooses the policy that a configuration means, and builds what the policy needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from controller.late import LateController
from controller.planning.plan import Plan, SolveRequest
from controller.policies.auto import Auto
from controller.policies.budget import FixedBudget
from controller.policies.definition import (
    AdaptivePolicy,
    PolicyContext,
    PolicySettings,
    certified_at,
    has_controller,
    levers_of,
    needs_profile,
)
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.policies.none import FullThought
from controller.policies.registry import changed, kind_of
from controller.policy import LoadObserver, Policy
from controller.serving.ordering.turns import ServingOrder
from controller.solver_thread import SolverThread
from laser.server.config import CONTROLLER_KEYS, ServeConfig
from models.chat_model import ChatModel
from models.files.strict_yaml import ConfigError
from models.kinds.kind import AnswerKind
from models.profile.identity import identify
from models.profile.profile import OtherFormatError, Profile, ProfileError, profile_of, read_profile
from models.profile.tables import OperatingPoint

if TYPE_CHECKING:
    from controller.controller import Controller
    from controller.planning.planner import Planner

log = logging.getLogger(__name__)

NOTHING = "the profile certifies nothing"
NO_CONTEST = "whether a constant would do better is not simulated yet: `laser calibrate --from-records` does it"
INSTEAD = "with --threshold, or a --policy that needs no profile, it is served without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPolicy:
    """The policy that serves."""

    name: str  # its kind, never auto
    policy: Policy
    observer: LoadObserver | None = None  # None: the policy needs none
    profile: Profile | None = None  # the model's; None: there is none
    order: ServingOrder = field(default_factory=ServingOrder)  # in which requests are served
    order_note: str | None = None  # why they are; None: the order was named, or nothing was chosen
    note: str | None = None  # why this policy was chosen; None: it was named
    warns: bool = False  # whether the note says what is wrong with the profile
    certified: frozenset[AnswerKind] | None = None  # kinds of answers that its limits hold for; None: all
    settings: PolicySettings | None = None  # what the policy was made from; None: not stated
    begins: tuple[Callable[[], None], ...] = ()  # begin what may begin once requests are served
    ends: tuple[Callable[[], None], ...] = ()  # end what runs beside the policy

    @property
    def certifying(self) -> Profile | None:
        """The profile with what it certifies at the policy's risk and for its levers; None: there is no profile."""
        if self.profile is None or self.settings is None or not has_controller(self.settings):
            return self.profile
        risk, peak = (getattr(self.settings, name, None) for name in ("risk", "risk_peak"))
        worst = getattr(self.settings, "worst_benchmark", False)
        return certified_at(self.profile, risk, peak, levers=levers_of(self.settings), worst=worst)

    @property
    def controller(self) -> Controller | None:
        """The policy if it is the load-aware controller; None: it is another, or the controller is not made yet."""
        from controller.controller import Controller

        policy = self.policy.controller if isinstance(self.policy, LateController) else self.policy
        return policy if isinstance(policy, Controller) else None

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The certified points that a controller may hand out; empty: the policy is another."""
        if isinstance(self.policy, LateController):
            return self.policy.certified
        return () if self.controller is None else self.controller.certified

    def classify(self, prompt: Sequence[int]) -> str | None:
        """Returns the difficulty class of a prompt; None: the model has no profile."""
        return None if self.profile is None else self.profile.difficulty.classify(prompt)

    def begin(self) -> None:
        """Begins what may begin once requests are served."""
        for begin in self.begins:
            begin()

    def close(self) -> None:
        """Ends what runs beside the policy."""
        for end in self.ends:
            end()


def choose_policy(config: ServeConfig, directory: Path, chat: ChatModel, *, late: bool = False) -> ChosenPolicy:
    """Returns the policy for the model in `directory`. `late`: a controller is made once the policy is begun.

    Raises ConfigError if the controller settings are invalid, ProfileError if a profile is needed and there is none.
    """
    profile, missing = _profile(config, directory, chat)
    place = profile_of(directory)
    broken = missing is not None and place.is_file()
    given = config.policy
    policy, note, warns = _auto(given, profile, missing, broken, config) if isinstance(given, Auto) else _Taken(given)
    name = kind_of(policy)
    if profile is None and (needs_profile(policy) or config.orders):
        given_order = "shortest_first is set" if config.shortest_first else f"head_start_s is {config.orders or 0.0:g}"
        what = f"policy is {name}" if needs_profile(policy) else given_order
        raise ProfileError(f"{what}, which needs a profile: {missing}")
    if broken and not warns:
        log.warning("%s", missing)
    begins: list[Callable[[], None]] = []
    ends: list[Callable[[], None]] = []
    context = PolicyContext(
        profile=profile,
        max_batch=config.engine_options.max_batch,
        controller=lambda usable: _controller(config, usable, begins if late else None, ends),
    )
    order, order_note = _order(config, profile)
    made = (policy if config.early_exit else _without_probes(policy)).make(context)
    for setting in CONTROLLER_KEYS:
        if getattr(config, setting) is not None and not ends:  # no controller was built
            why = "" if note is None else f": {note}"
            raise ConfigError(f"{setting} is {getattr(config, setting)}, but the policy is {name}, not load-aware{why}")
    return ChosenPolicy(
        name=name,
        policy=made.policy,
        observer=made.observer,
        profile=profile,
        order=order,
        order_note=order_note,
        note=note and note.replace(str(place), place.name),  # clients do not see the path
        warns=warns,
        certified=frozenset(profile.answers) if profile is not None and _measured(config, policy) else None,
        settings=policy,
        begins=tuple(begins),
        ends=tuple(ends),
    )


def _order(config: ServeConfig, profile: Profile | None) -> tuple[ServingOrder, str | None]:
    """Returns the order that is set, else the profile's, and why it serves; None: it is set, or there is none.

    Raises ConfigError if thoughts are to pause in an order that is first come, first served.
    """
    kept = None if profile is None or config.orders is not None else profile.order
    head_start_s = (0.0 if kept is None else kept.head_start_s) if config.orders is None else config.orders
    if config.pauses and not head_start_s:
        why = "there is no profile" if profile is None else "the profile has no head start"
        raise ConfigError(f"pauses is true, but {why}, and head_start_s is not set: nobody goes before who came first")
    order = ServingOrder.of(profile, head_start_s=head_start_s, pauses=config.pauses)
    return order, None if kept is None else kept.reason


class _Taken(NamedTuple):
    policy: PolicySettings
    note: str | None = None  # why
    warns: bool = False  # whether the reason is a fault of the profile


def _auto(policy: Auto, profile: Profile | None, missing: str | None, broken: bool, config: ServeConfig) -> _Taken:
    """Returns the policy that auto takes; `broken`: there is a profile, and it cannot be used.

    Raises ConfigError if the interval of probes is given, and the policy is what a profile certifies: at its own.
    """
    if why := policy.fixed_by(early_exit=config.early_exit):
        return _Taken(changed(policy, FixedThreshold.kind, {}), why)
    if profile is None and policy.risk is None and policy.risk_peak is None:
        return _Taken(changed(policy, FixedThreshold.kind, {}), missing, warns=broken)
    taken = _certified(policy, profile, config)
    if policy.every is not None:
        because = "" if taken.note is None else f" ({taken.note})"
        raise ConfigError(
            f"every is {policy.every}, but auto takes {kind_of(taken.policy)}{because}, which has no use for it: "
            "name a policy that probes so often, such as fixed, or leave it out"
        )
    return taken


def _certified(policy: Auto, profile: Profile | None, config: ServeConfig) -> _Taken:
    """Returns what auto takes where a profile decides, or is asked to by a risk."""
    load_aware = LoadAware(risk=policy.risk, risk_peak=policy.risk_peak)
    for name in ("risk", "risk_peak"):
        if getattr(policy, name) is not None:
            return _Taken(load_aware, f"{name} is given")
    assert profile is not None
    if profile.refused is not None:
        return _Taken(FullThought(), f"{NOTHING}: {profile.refused}", warns=True)
    contest = profile.contest
    for name in ("controller", "decision_log"):  # the contest was held with the default settings: others are obeyed
        if getattr(config, name) is not None:
            return _Taken(load_aware, f"{name} is given")
    if contest is None:
        return _Taken(load_aware, NO_CONTEST)
    if not contest.worse:
        return _Taken(load_aware, contest.reason)
    if contest.threshold is not None:
        return _Taken(FixedThreshold(threshold=contest.threshold, budget=contest.budget), contest.reason)
    return _Taken(FullThought() if contest.budget is None else FixedBudget(budget=contest.budget), contest.reason)


def _measured(config: ServeConfig, taken: PolicySettings) -> bool:
    """Whether the limits of the policy that was taken are a profile's, not the operator's own."""
    return needs_profile(taken) or _is_open(config)


def _without_probes(policy: PolicySettings) -> PolicySettings:
    """Returns what `early_exit: false` leaves of a policy: of a fixed threshold its budget, of others all."""
    if not isinstance(policy, FixedThreshold):
        return policy
    return FullThought() if policy.budget is None else FixedBudget(budget=policy.budget)


def _profile(config: ServeConfig, directory: Path, chat: ChatModel) -> tuple[Profile | None, str | None]:
    """Returns the model's profile, or None and the reason why there is no usable one.

    Raises ProfileError if the policy is left to the profile, and it was measured with another thinking format or score.
    """
    path = profile_of(directory)
    if not path.is_file():
        return None, f"{path} does not exist; `laser calibrate` measures it"
    try:
        profile = read_profile(path, identify(directory, chat.thinking.format))
    except OtherFormatError as error:
        if _is_open(config):
            raise OtherFormatError(f"{error}; {INSTEAD}") from error
        return None, str(error)
    except ProfileError as error:
        return None, str(error)
    _tell_of_template(config, profile)
    score = config.score or chat.thinking.format.probe.score
    if profile.score != score:
        differs = f"{path} was measured with score {profile.score}, served is {score}"
        if _is_open(config):
            raise ProfileError(f"{differs}: give --score {profile.score}; {INSTEAD}")
        return None, differs
    return profile, None


def _is_open(config: ServeConfig) -> bool:
    """Whether the profile decides about the policy."""
    return isinstance(config.policy, Auto) and config.policy.fixed_by(early_exit=config.early_exit) is None


def _tell_of_threads(config: ServeConfig, profile: Profile) -> None:
    """Logs that a controller will plan with step times of another number of threads."""
    threads = profile.provenance.get("threads")
    if isinstance(threads, int) and threads > 0 and threads != config.threads:
        log.warning(
            "the profile's step times were measured with threads at %d, served is with %d: the first plans are off; "
            "serve with --threads %d, or calibrate again",
            threads,
            config.threads,
            threads,
        )


def _tell_of_template(config: ServeConfig, profile: Profile) -> None:
    """Logs that a profile was calibrated with another chat template than the one in use, told by their files' names."""
    options = profile.provenance.get("options")
    theirs = options.get("chat_template") if isinstance(options, Mapping) else None
    ours = None if config.chat_template is None else config.chat_template.name
    if theirs != ours:
        theirs, ours = (each or "the model's own" for each in (theirs, ours))
        log.warning("the profile was calibrated with another chat template, %s, than is served, %s", theirs, ours)


def _controller(
    config: ServeConfig, profile: Profile, begins: list[Callable[[], None]] | None, ends: list[Callable[[], None]]
) -> AdaptivePolicy:
    """Builds the controller, its solver thread and its decision log; adds to `ends` what ends them.

    `begins` gets what has the controller made; None: it is made now.
    """
    from controller.controller import Controller
    from controller.decision_log import DecisionLog
    from controller.settings import SettingsFile
    from controller.unmet import unmet

    _tell_of_threads(config, profile)
    settings = SettingsFile(config.controller, len(profile.classes), partial(unmet, profile))
    solver = SolverThread(_Planning(profile))
    ends.append(solver.stop)
    sink = None
    if config.decision_log is not None:
        sink = DecisionLog(config.decision_log)
        ends.append(sink.close)
    make = partial(
        Controller,
        profile,
        settings=settings,
        solver=solver,
        max_batch=config.engine_options.max_batch,
        sink=sink,
        complaints=(lambda: None) if sink is None else sink.complaint,
    )
    if begins is None:
        return make()
    late = LateController(profile, make)
    begins.append(late.begin)
    return late


class _Planning:
    """A planner that is made for the first request, on the solver's thread: it imports cvxpy, and nobody waits."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._planner: Planner | None = None

    def __call__(self, request: SolveRequest) -> Plan:
        if self._planner is None:
            from controller.planning.planner import Planner

            self._planner = Planner(self._profile.tables(), clock=time.perf_counter)
        return self._planner(request)
