"""The controller's settings: a YAML file that may change while the controller runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from controller.estimation.estimator import EstimatorSettings
from controller.planning.objective import ObjectiveSettings
from controller.risk.account import RiskSettings
from models.files.checks import at_least, positive
from models.files.strict_yaml import ConfigError, read
from models.files.watched import WatchedFile

log = logging.getLogger(__name__)


class PriceSource(StrEnum):
    """The source of the token price."""

    POLICY_MAP = "policy-map"  # a price for each number of requests in the system
    JOINT_PROGRAM = "joint-program"  # one mean price for all numbers, at which no thoughts race; the map's baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """The loop's timing, its objective and its estimator."""

    inner_s: float = 0.5  # least time between two look-ups
    outer_s: float = 5.0  # time between two solve requests, if the load changes little
    # share by which the rate, a work ratio or the step time must change for a solve request before `outer_s`
    change: float = 0.2
    soonest_s: float = 1.0  # least time between two solve requests, however much has changed
    deadline_s: float = 5.0  # time without an answer after which the solver is reported
    stale_s: float = 120.0  # age, since its request, up to which a policy map is used
    gap_s: float = 30.0  # a longer time between two look-ups is a jump of the clock: it says nothing about the load
    # rows of the policy map, at least: one for each number of requests in the system; twice the largest batch if more
    rows: int = 64
    price: PriceSource = PriceSource.POLICY_MAP  # where the token price comes from
    memory: bool = False  # whether KV cells are planned, too: how many sequences they leave room for
    # what is aimed at: weights and constraints, in correct answers
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    estimator: EstimatorSettings = field(default_factory=EstimatorSettings)  # how the load is estimated
    account: RiskSettings = field(default_factory=RiskSettings)  # of risk, where a policy has a `risk_peak`

    def __post_init__(self) -> None:
        positive(self, "inner_s", "outer_s", "change", "soonest_s", "deadline_s", "stale_s", "gap_s")
        if self.gap_s <= self.inner_s:
            raise ValueError(f"gap_s is {self.gap_s}, must be above inner_s, {self.inner_s}")
        at_least(self, 2, "rows")

    def check_classes(self, count: int) -> None:
        """Raises ValueError if a per-class setting is given but does not have `count` entries."""
        for name, given in (
            ("objective.accuracy_floors", self.objective.accuracy_floors),
            ("objective.slo_s", self.objective.slo_s),
            ("estimator.initial_mix", self.estimator.initial_mix),
        ):
            if given and len(given) != count:
                raise ValueError(f"`{name}` has {len(given)} entries, must have {count} or none")


class SettingsSource(Protocol):
    """Where the controller gets its settings from."""

    @property
    def settings(self) -> ControllerSettings:
        """The settings in force."""

    @property
    def error(self) -> str | None:
        """Why newer settings were rejected; None: none were."""

    def refresh(self) -> bool:
        """Puts new settings in force if there are any; returns whether there were."""


class FixedSettings:
    """Settings that never change."""

    error = None

    def __init__(self, settings: ControllerSettings) -> None:
        self.settings = settings

    def refresh(self) -> bool:
        return False


class SettingsFile:
    """The settings in a file, or the defaults; if the file becomes invalid, the former settings stay in force."""

    def __init__(
        self, path: Path | None, classes: int, unmet: Callable[[ObjectiveSettings], Iterable[str]] = lambda _: ()
    ) -> None:
        """Raises ConfigError if the file is invalid now. `path` None: the defaults.

        `classes`: the number of entries that a per-class setting must have. `unmet`: tells which goals of settings that
        come in force are out of reach; they are logged.
        """
        self._classes = classes
        self._unmet = unmet
        self._defaults = ControllerSettings()
        self._file = None if path is None else WatchedFile(path, self._read)

    @property
    def settings(self) -> ControllerSettings:
        return self._defaults if self._file is None else self._file.content

    @property
    def error(self) -> str | None:
        """The message in one line and without the file's directory, because clients see it."""
        if self._file is None or self._file.error is None:
            return None
        return " ".join(str(self._file.error).split()).replace(str(self._file.path), self._file.path.name)

    def refresh(self) -> bool:
        """Reads the file again if it has changed; returns whether settings are new. Sets `error`, never raises."""
        former, complaint = self.settings, self.error
        if self._file is None or not self._file.refresh():
            return False
        if self._file.error is not None:
            log.error("the former controller settings stay in force: %s", self._file.error)
        elif complaint is not None and self.settings == former:
            log.info("%s can be read again; its settings are those in force", self._file.path)
        return self.settings != former

    def _read(self, path: Path) -> ControllerSettings:
        settings = read(path, ControllerSettings)
        try:
            settings.check_classes(self._classes)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
        for said in self._unmet(settings.objective):
            log.warning("%s: %s", path, said)
        return settings
