"""The controller's settings: a YAML file that may change while the controller runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from controller.estimation.estimator import EstimatorSettings
from controller.planning.objective import ObjectiveSettings
from models.files.strict_yaml import ConfigError, read


class PriceSource(StrEnum):
    """The source of the token price."""

    POLICY_MAP = "policy-map"  # a price for each number of requests in the system
    JOINT_PROGRAM = "joint-program"  # one mean price for all numbers; the baseline of the policy map


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """The loop's timing, its objective and its estimator."""

    inner_s: float = 0.5  # least time between two look-ups
    outer_s: float = 5.0  # time between two solve requests …
    change: float = 0.2  # … or less, once the rate, a work ratio or the step time has changed by this share …
    soonest_s: float = 1.0  # … and this time has passed since the last request
    deadline_s: float = 5.0  # time without an answer after which the solver is reported
    stale_s: float = 120.0  # age, since its request, up to which a policy map is used
    gap_s: float = 30.0  # a longer time between two look-ups is a jump of the clock: it says nothing about the load
    rows: int = 64  # of the policy map: one for each number of requests in the system, 1 … rows
    price: PriceSource = PriceSource.POLICY_MAP
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    estimator: EstimatorSettings = field(default_factory=EstimatorSettings)

    def __post_init__(self) -> None:
        for name in ("inner_s", "outer_s", "change", "soonest_s", "deadline_s", "stale_s", "gap_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} is {value}, must be finite and above 0")
        if self.gap_s <= self.inner_s:
            raise ValueError(f"gap_s is {self.gap_s}, must be above inner_s, {self.inner_s}")
        if self.rows < 2:
            raise ValueError(f"rows is {self.rows}, must be at least 2")

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

    def __init__(self, path: Path | None, classes: int) -> None:
        """Raises ConfigError if the file is invalid now. `path` None: the defaults.

        `classes`: the number of entries that a per-class setting must have.
        """
        self._path = path
        self._classes = classes
        self._seen = self._stamp()
        self.error: str | None = None
        self.settings = self._read()

    def refresh(self) -> bool:
        """Reads the file again if it has changed; returns whether settings are new. Sets `error`, never raises."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            settings = self._read()
        except ConfigError as error:
            self.error = self._told(error)
            return False
        self.error = None
        changed, self.settings = settings != self.settings, settings
        return changed

    def _told(self, error: ConfigError) -> str:
        """Returns the message in one line and without the file's directory, because clients see it."""
        said = " ".join(str(error).split())
        return said if self._path is None else said.replace(str(self._path), self._path.name)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if stat is None else (stat.st_mtime_ns, stat.st_size)

    def _read(self) -> ControllerSettings:
        if self._path is None:
            return ControllerSettings()
        settings = read(self._path, ControllerSettings)
        try:
            settings.check_classes(self._classes)
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}") from error
        return settings
