"""Which policy a configuration means, and all that it needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from controller.policies import FixedPolicy, Limits, Policy
from controller.watch import Watcher
from laser.config import DEFAULT_THRESHOLD, PolicyName, ServeConfig
from models.chat_model import ChatModel
from models.profile import FILE_NAME, Profile, ProfileError, identify, read_profile

if TYPE_CHECKING:
    from controller.control import Controller

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPolicy:
    """The policy that serves."""

    name: PolicyName  # never auto
    policy: Policy
    watcher: Watcher | None = None
    profile: Profile | None = None  # of the model, whoever decides
    note: str | None = None  # why it is this one, where that may surprise
    ends: tuple[Callable[[], None], ...] = ()

    @property
    def controller(self) -> Controller | None:
        """The controller, if it is the one who decides."""
        from controller.control import Controller

        return self.policy if isinstance(self.policy, Controller) else None

    def classify(self, prompt: Sequence[int]) -> str | None:
        """The difficulty class of a prompt; None where the model has no profile to tell it by."""
        return None if self.profile is None else self.profile.difficulty.classify(prompt)

    def close(self) -> None:
        """End what runs beside the policy."""
        for end in self.ends:
            end()


def choose_policy(config: ServeConfig, directory: Path, chat: ChatModel) -> ChosenPolicy:
    """The policy for a model in a directory.

    Raises ConfigError for bad controller settings, and ProfileError where the policy needs a profile and there is none.
    """
    profile, missing = _profile(config, directory, chat)
    name, note = config.policy, None
    if name is PolicyName.AUTO:
        given = config.threshold is not None or config.budget is not None or not config.early_exit
        if given:
            name, note = PolicyName.FIXED, "threshold, budget or early_exit are given"
        elif profile is None:
            name, note = PolicyName.FIXED, missing
        else:
            name = PolicyName.LOAD_AWARE
        if profile is None and not given:
            log.info("the policy is fixed, not load-aware: %s", note)
    if name is PolicyName.LOAD_AWARE:
        if profile is None:
            raise ProfileError(f"policy is load-aware, which needs a profile: {missing}")
        return _load_aware(config, profile)
    if name is PolicyName.PAPER:
        if profile is None:
            raise ProfileError(f"policy is paper, which needs a profile's certified thresholds: {missing}")
        return _paper(profile)
    threshold = DEFAULT_THRESHOLD if config.threshold is None else config.threshold
    limits = {
        PolicyName.FIXED: Limits(threshold=threshold if config.early_exit else None, budget=config.budget),
        PolicyName.BUDGET: Limits(budget=config.budget),
        PolicyName.NONE: Limits(),
    }[name]
    return ChosenPolicy(name=name, policy=FixedPolicy(limits), profile=profile, note=note)


def _profile(config: ServeConfig, directory: Path, chat: ChatModel) -> tuple[Profile | None, str | None]:
    """The model's profile, or why there is none to go by."""
    path = directory / FILE_NAME
    if not path.is_file():
        return None, f"{path} does not exist; `laser calibrate` measures it"
    try:
        profile = read_profile(path, identify(directory, chat.thinking.format))
    except ProfileError as error:
        log.warning("%s", error)
        return None, str(error)
    score = config.score or chat.thinking.format.probe.score
    if profile.score != score:
        return None, f"{path} was measured with score {profile.score}, served is {score}"
    return profile, None


def _load_aware(config: ServeConfig, profile: Profile) -> ChosenPolicy:
    from controller.control import Controller
    from controller.decision_log import DecisionLog
    from controller.planner import Planner
    from controller.settings import SettingsFile
    from controller.solver_thread import SolverThread

    settings = SettingsFile(config.controller, len(profile.classes))
    solver = SolverThread(Planner(profile.quality(), clock=time.perf_counter))
    ends: list[Callable[[], None]] = [solver.stop]
    sink = None
    if config.decision_log is not None:
        sink = DecisionLog(config.decision_log)
        ends.append(sink.close)
    controller = Controller(
        profile,
        settings=settings,
        solver=solver,
        max_batch=config.max_batch,
        sink=sink,
        complaints=(lambda: None) if sink is None else sink.complaint,
    )
    return ChosenPolicy(
        name=PolicyName.LOAD_AWARE, policy=controller, watcher=controller, profile=profile, ends=tuple(ends)
    )


def _paper(profile: Profile) -> ChosenPolicy:
    from controller.load_rule import LoadRule, LoadRuleSettings

    thresholds = [profile.thresholds[i] for i, j in profile.points() if j == 0]
    known = [threshold for threshold in thresholds if threshold is not None]
    if not known:
        raise ProfileError("policy is paper, but the profile certifies no threshold without a budget")
    rule = LoadRule(known, LoadRuleSettings())
    return ChosenPolicy(name=PolicyName.PAPER, policy=rule, watcher=rule, profile=profile)
