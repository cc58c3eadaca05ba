"""A model's profile: all that the controller must know of the model beforehand, measured by `laser calibrate`.

Tables are [class, threshold, budget]: classes as predicted from prompts, thresholds and budgets strictest first, so
that [d][0][0] is the full thought, neither probed nor closed. Every question counts at every point, so a class's entry
of `counts` is the number of questions behind each of its table entries. A profile is one file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import LaserError
from models.files.replacement import replacing
from models.profile.certificate import Certificate
from models.profile.difficulty import Difficulty
from models.profile.plant import Plant, StepTime
from models.profile.tables import OperatingPoint, OperatingTables
from models.thinking import ThinkingFormat

FORMAT = "laser-profile"
VERSION = 1
FILE_NAME = "profile.json"  # beside the model's weights
NEVER = 1.01  # the threshold of operating points that never probe

Threshold = float | None  # None: never probed, never closed by confidence
Budget = int | None  # thought tokens; None: no budget
Table = tuple[tuple[tuple[float, ...], ...], ...]  # [class, threshold, budget]


class ProfileError(LaserError, ValueError):
    """A profile that cannot be used; the message names the file, the value found and the value expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """The model and thinking format that a profile was measured on."""

    name: str
    weights_sha256: str  # of all its safetensors files, by name
    thinking_sha256: str  # of its thinking format


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlant:
    """The engine's step times on the machine that ran the calibration."""

    step_time: StepTime
    error: float  # root mean square of the fit's relative errors
    max_batch: int
    context: float  # mean cached tokens of a sequence, over full thoughts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCost:
    """The mean cost of a probe."""

    rows: float  # token rows
    seconds: float  # added to the steps during which it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All measurements of a calibration. `tokens` and `accuracy` are the tables W and Q."""

    model: ModelIdentity
    score: str  # how confidence is computed; a models.score.Score
    max_tokens: int  # the longest reply of the calibration
    classes: tuple[str, ...]  # easiest first
    counts: tuple[int, ...]  # questions by class
    thresholds: tuple[Threshold, ...]
    budgets: tuple[Budget, ...]
    tokens: Table  # mean token rows of a request: reply, withdrawn tokens, probes
    square: Table  # mean squared token rows of a request, for the spread of mixtures
    accuracy: Table
    p95_steps: Table  # 95th percentile of a request's decode steps
    certificate: Certificate  # of thresholds and budgets, over all classes
    plant: MeasuredPlant
    probe: ProbeCost
    difficulty: Difficulty
    confusion: tuple[tuple[int, ...], ...]  # [class by true length][observed class], questions
    explained: float  # share of the variance of the log length that the prompt predicts
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        shape = (len(self.classes), len(self.thresholds), len(self.budgets))
        for name in ("tokens", "square", "accuracy", "p95_steps"):
            if (found := _shape(getattr(self, name))) != shape:
                raise ValueError(f"{name} has shape {found}, must be {shape}: classes, thresholds and budgets")
        for name in ("harmed", "bounds", "certified"):
            if (found := _shape(getattr(self.certificate, name))) != shape[1:]:
                raise ValueError(f"certificate.{name} has shape {found}, must be {shape[1:]}: thresholds and budgets")
        if len(self.counts) != len(self.classes):
            raise ValueError(f"counts has {len(self.counts)} entries, must have {len(self.classes)}: one a class")
        _check_falling("thresholds", self.thresholds)
        _check_falling("budgets", self.budgets)

    def points(self, *, certified_only: bool = True) -> list[tuple[int, int]]:
        """The points in use, as indices (threshold, budget); the full thought comes first."""
        table = self.certificate.certified
        return [(i, j) for i, row in enumerate(table) for j, safe in enumerate(row) if safe or not certified_only]

    def tables(self, *, certified_only: bool = True) -> OperatingTables:
        """The tables W and Q at `points`, as the optimiser takes them.

        A threshold of NEVER stands for no probing, a budget of `max_tokens` for no budget.
        """
        points = self.points(certified_only=certified_only)
        rows, columns = [i for i, _ in points], [j for _, j in points]
        return OperatingTables(
            classes=self.classes,
            points=tuple(
                OperatingPoint(
                    threshold=_else(self.thresholds[i], NEVER), budget=_else(self.budgets[j], self.max_tokens)
                )
                for i, j in points
            ),
            tokens=np.array(self.tokens)[:, rows, columns],
            accuracy=np.array(self.accuracy)[:, rows, columns],
            p95_steps=np.array(self.p95_steps)[:, rows, columns],
        )

    @property
    def full_thought_tokens(self) -> float:
        """Mean token rows of a request with full thought, in the calibration's mix of classes."""
        return float(np.average(np.array(self.tokens)[:, 0, 0], weights=self.counts))

    @property
    def reply_s(self) -> float:
        """Seconds of a mean reply with full thought that has the engine to itself."""
        return self.full_thought_tokens / self.plant_model().rate(1)

    @property
    def full_thought_rate(self) -> float:
        """Requests/s that the engine can serve with full thought."""
        return self.plant_model().capacity / self.full_thought_tokens

    def plant_model(self) -> Plant:
        """The engine as a queue; the spread of a request's tokens is that of full thoughts, all classes together."""
        counts = np.array(self.counts, dtype=np.float64)
        mean = float(counts @ np.array(self.tokens)[:, 0, 0] / counts.sum())
        square = float(counts @ np.array(self.square)[:, 0, 0] / counts.sum())
        return Plant(
            step_time=self.plant.step_time,
            max_batch=self.plant.max_batch,
            context=self.plant.context,
            cv2=max(0.0, square / mean**2 - 1.0),
        )


def identify(directory: Path, thinking: ThinkingFormat, name: str | None = None) -> ModelIdentity:
    """The identity of the model in a directory; `name` None: the directory's name."""
    weights = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as opened:
            weights.update(file.name.encode() + b"\0" + hashlib.file_digest(opened, "sha256").digest())
    return ModelIdentity(
        name=name or directory.resolve().name,
        weights_sha256=weights.hexdigest(),
        thinking_sha256=thinking_sha256(thinking),
    )


def thinking_sha256(thinking: ThinkingFormat) -> str:
    """The hash that identifies a thinking format."""
    said = asdict(thinking)
    del said["conclusions"]  # serving does not use them
    return hashlib.sha256(_canonical(said)).hexdigest()


def write_profile(path: Path, profile: Profile) -> None:
    """Write the profile to `path`, whole or not at all."""
    payload = asdict(profile)
    text = json.dumps(
        {"format": FORMAT, "version": VERSION, "sha256": _checksum(payload), "profile": payload},
        ensure_ascii=False,
        allow_nan=False,
    )
    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def checksum(profile: Profile) -> str:
    """The sha256 that the profile's file states for its contents."""
    return _checksum(asdict(profile))


def read_profile(path: Path, model: ModelIdentity | None = None) -> Profile:
    """Reads the profile at `path`.

    Raises ProfileError if the file is unusable, or if the profile is not of `model` (None: any model).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ProfileError(f"{path}: is not JSON, or only a part of it: {error}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        told = said.get("format") if isinstance(said, dict) else type(said).__name__
        raise ProfileError(f"{path}: format is {told!r}, must be {FORMAT!r}")
    if said.get("version") != VERSION:
        raise ProfileError(
            f"{path}: version is {said.get('version')!r}, must be {VERSION}; run `laser calibrate` again"
        )
    checksum = _checksum(said.get("profile"))
    if said.get("sha256") != checksum:
        raise ProfileError(
            f"{path}: sha256 is {said.get('sha256')!r}, that of its contents is {checksum!r}: it was damaged or edited"
        )
    try:
        profile: Profile = _build(Profile, said["profile"], "profile")
    except ValueError as error:
        raise ProfileError(f"{path}: {error}") from error
    if model is not None:
        for name in ("weights_sha256", "thinking_sha256"):
            theirs, ours = getattr(profile.model, name), getattr(model, name)
            if theirs != ours:
                raise ProfileError(
                    f"{path}: is of model {profile.model.name!r} with {name} {theirs}, must be {ours}, that of "
                    f"{model.name!r}; run `laser calibrate` again"
                )
    return profile


def _canonical(payload: object) -> bytes:
    return json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()


def _checksum(payload: object) -> str:
    return hashlib.sha256(_canonical(payload)).hexdigest()


def _shape(table: Any) -> tuple[int, ...]:
    try:
        return np.shape(table)
    except ValueError as error:
        raise ValueError(f"a table's rows differ in length: {error}") from error


def _check_falling(name: str, ladder: tuple[float | None, ...]) -> None:
    steps = [math.inf if step is None else step for step in ladder]
    if not steps or steps[0] != math.inf or any(b >= a for a, b in pairwise(steps)):
        raise ValueError(f"{name} are {ladder}, must begin with None and fall")


def _else(value: float | None, default: float) -> float:
    return default if value is None else value


def _build(kind: Any, value: Any, where: str) -> Any:
    """Converts a JSON value to its declared type. Raises ValueError, naming the place, if it does not fit."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _build(inner[0], value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            told = ", ".join(sorted(value)) if isinstance(value, dict) else repr(value)[:40]
            raise ValueError(f"{where} is {told}, must have {', '.join(hints)}")
        return kind(**{name: _build(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
    if origin is tuple:
        if not isinstance(value, list) or (Ellipsis not in inner and len(value) != len(inner)):
            raise ValueError(f"{where} is {repr(value)[:40]}, must be a list of the right length")
        return tuple(_build(inner[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    expected = dict if origin is not None else kind
    if type(value) is not expected:
        raise ValueError(f"{where} is {repr(value)[:40]}, must be of type {expected.__name__}")
    return value
