"""A model's profile: all that the controller must know of the model beforehand, measured by `laser calibrate`.

Tables are [class, threshold, budget]: classes as predicted from prompts, thresholds and budgets strictest first, so
that [d][0][0] is the full thought, neither probed nor closed. Every question counts at every point, so a class's entry
of `counts` is the number of questions behind each of its table entries. A profile is one file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.directory import beside
from models.errors import LaserError
from models.files.envelope import Envelope, Head, sha256_of
from models.kinds.kind import AnswerKind
from models.profile.certificate import Certificate, refusal
from models.profile.contest import PolicyContest
from models.profile.difficulty import Difficulty
from models.profile.give_up import GiveUpCurve
from models.profile.give_up_tables import GiveUpTables
from models.profile.harm import Corner, Harm
from models.profile.identity import ModelIdentity
from models.profile.lever import Lever
from models.profile.levers.benchmarks import ByBenchmark
from models.profile.levers.index import PriceIndexTables
from models.profile.levers.no_thought_tables import NoThoughtTables
from models.profile.levers.points import answering_at_once, closing_at_prices, racing
from models.profile.order import OrderChoice
from models.profile.plant import Plant, StepTime, prompt_tokens, squares
from models.profile.tables import Charges, OperatingPoint, OperatingTables
from models.profile.width import WidthTables

FILE_NAME = "profile.json"  # beside the model's weights; of a GGUF file, NAME.profile.json

Threshold = float | None  # None: never probed, never closed by confidence
Budget = int | None  # thought tokens; None: no budget
Table = tuple[tuple[tuple[float, ...], ...], ...]  # [class, threshold, budget]

FIXED = 0.95  # the fixed threshold without a budget that savings are told against, besides the full thought


class ProfileError(LaserError, ValueError):
    """A profile that cannot be used; the message names the file, the value found and the value expected."""


class OtherFormatError(ProfileError):
    """A profile that was measured with another thinking format than the one in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlant:
    """The engine's step times on the machine that ran the calibration."""

    step_time: StepTime  # seconds of a decode step, fitted
    error: float  # root mean square of the fit's relative errors
    max_batch: int  # sequences decoded at once
    context: float  # mean cached tokens of a sequence, over full thoughts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCost:
    """The mean cost of a probe."""

    rows: float  # token rows
    seconds: float  # added to the steps during which it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSquares:
    """Mean squared differences of a question's token rows at each point to its rows at another point."""

    full_thought: Table  # to the full thought
    fixed: Table  # to the threshold FIXED without a budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All measurements of a calibration. `tokens` and `accuracy` are the tables W and Q."""

    model: ModelIdentity  # the model and thinking format that were measured
    score: str  # how confidence is computed; a models.score.Score
    max_tokens: int  # the longest reply of the calibration
    classes: tuple[str, ...]  # easiest first
    counts: tuple[int, ...]  # questions by class
    thresholds: tuple[Threshold, ...]  # confidences, strictest first; null: never probed
    budgets: tuple[Budget, ...]  # thinking tokens, longest first; null: no budget
    tokens: Table  # mean token rows of a request: reply, withdrawn tokens, probes
    square: Table  # mean squared token rows of a request, for the spread of mixtures
    accuracy: Table  # share of right answers
    p95_steps: Table  # 95th percentile of a request's decode steps
    certificate: Certificate  # of thresholds and budgets, over all classes
    plant: MeasuredPlant  # the engine's step times
    probe: ProbeCost  # what a probe costs
    difficulty: Difficulty  # the classifier of prompts
    confusion: tuple[tuple[int, ...], ...]  # [class by true length][observed class], questions
    explained: float  # share of the variance of the log length that the prompt predicts
    provenance: Mapping[str, Any]  # what made the profile: command, versions, machine, seeds, questions
    contest: PolicyContest | None = None  # of load-aware and constants, simulated; None: none was held
    # spread of paired savings; None: calibrated before they were kept, or FIXED is no threshold of the table
    paired: PairedSquares | None = None
    # kinds of the answers that the questions wanted: other kinds are not certified, and not shortened
    answers: tuple[AnswerKind, ...] = (AnswerKind.SHORT,)
    give_up: GiveUpTables | None = None  # points at which hopeless thoughts are given up; None: not tabulated
    index: PriceIndexTables | None = None  # points at which thoughts are closed by their index; None: not tabulated
    order: OrderChoice | None = None  # of requests, chosen by simulation; None: none was simulated
    width: WidthTables | None = None  # points at which several thoughts of a prompt race; None: not tabulated
    levers: frozenset[Lever] = (
        frozenset()
    )  # in use beside thresholds and budgets, as a policy chooses; no file keeps it
    no_thought: NoThoughtTables | None = None  # points at which prompts are answered at once; None: not tabulated
    benchmarks: ByBenchmark | None = None  # the certificate's questions apart; None: calibrated before it was kept
    worst_benchmark: bool = False  # whether the worst benchmark's risk counts, as a policy chooses; no file keeps it

    def __post_init__(self) -> None:
        shape = (len(self.classes), len(self.thresholds), len(self.budgets))
        for name in ("tokens", "square", "accuracy", "p95_steps"):
            if (found := _shape(getattr(self, name))) != shape:
                raise ValueError(f"{name} has shape {found}, must be {shape}: classes, thresholds and budgets")
        for name in () if self.paired is None else ("full_thought", "fixed"):
            if (found := _shape(getattr(self.paired, name))) != shape:
                raise ValueError(f"paired.{name} has shape {found}, must be {shape}: classes, thresholds and budgets")
        for name in ("harmed", "bounds", "certified"):
            if (found := _shape(getattr(self.certificate, name))) != shape[1:]:
                raise ValueError(f"certificate.{name} has shape {found}, must be {shape[1:]}: thresholds and budgets")
        if self.give_up is not None and (found := np.shape(self.give_up.tokens)[1:]) != shape:
            raise ValueError(f"give_up has tables of shape {found}, must be {shape}: classes, thresholds and budgets")
        if self.index is not None and (found := np.shape(self.index.tokens)[::2]) != shape[::2]:
            raise ValueError(f"index has tables of {found} classes and budgets, must be {shape[::2]}")
        if Lever.PRICE_INDEX in self.levers and self.index is None:
            raise ValueError("levers has price-index, must not: the profile has no index of running thoughts")
        if Lever.PRICE_INDEX in self.levers and len(self.levers) > 1:
            raise ValueError(f"levers has price-index and {len(self.levers) - 1} more, must have it alone")
        if self.no_thought is not None and (found := np.shape(self.no_thought.tokens)[1:]) != shape:
            raise ValueError(f"no_thought has tables of shape {found}, must be {shape}")
        if Lever.NO_THOUGHT in self.levers and self.no_thought is None:
            raise ValueError("levers has no-thought, must not: the profile has no points that answer at once")
        if Lever.GIVE_UP in self.levers and self.give_up is None:
            raise ValueError("levers has give-up, must not: the profile has no points at which thoughts are given up")
        if self.width is not None and len(self.width.counts) != len(self.classes):
            raise ValueError(f"width has {len(self.width.counts)} classes, must have {len(self.classes)}")
        if Lever.WIDTH in self.levers and self.width is None:
            raise ValueError("levers has width, must not: the profile has no points at which thoughts race")
        if len(self.counts) != len(self.classes):
            raise ValueError(f"counts has {len(self.counts)} entries, must have {len(self.classes)}: one a class")
        if self.benchmarks is not None:
            self.benchmarks.check_classes(len(self.classes))
        _check_falling("thresholds", self.thresholds)
        _check_falling("budgets", self.budgets)

    def points(self, *, certified_only: bool = True) -> tuple[OperatingPoint, ...]:
        """The points in use at which thoughts think alone, in the order of the tables; the full thought comes first."""
        if self.priced is not None:
            return self._closing_at_prices(self.priced, certified_only).points
        curves: tuple[GiveUpCurve | None, ...] = (None, *(() if self.give_up is None else self.give_up.curves))
        plain = tuple(
            OperatingPoint(threshold=self.thresholds[i], budget=self.budgets[j], give_up=curves[c])
            for c, i, j in self._places(certified_only)
        )
        at_once = self._answering_at_once(certified_only)
        return plain if at_once is None else (*plain, *at_once.points)

    def tables(self, *, certified_only: bool = True) -> OperatingTables:
        """The tables W and Q at `points`, as the optimiser takes them."""
        if self.priced is not None:
            return self._closing_at_prices(self.priced, certified_only)
        places = self._places(certified_only)
        plain = OperatingTables(
            classes=self.classes,
            points=self.points(certified_only=certified_only)[: len(places)],
            tokens=self._at("tokens", places),
            accuracy=self._at("accuracy", places),
            p95_steps=self._at("p95_steps", places),
            longest=self.max_tokens,
            charges=self._charges(places),
            medians=None if self.curves is None else self.curves.medians,
            square=squares(np.array(self.tokens), np.array(self.square), places, self._at("tokens", places)),
            prompt=prompt_tokens(self.plant.context, self.counts, self.tokens, self.square),
        )
        for lever in (self._answering_at_once(certified_only), self._racing(certified_only)):
            plain = plain if lever is None else plain.joined(lever)
        return plain

    def _closing_at_prices(self, known: PriceIndexTables, certified_only: bool) -> OperatingTables:
        refused = certified_only and self.refused is not None
        places = [(0, 0)] if refused else known.points(certified_only=certified_only)
        return closing_at_prices(
            known, places, self.budgets, classes=self.classes, longest=self.max_tokens, unpriced=self.tokens,
            square=self.square, prompt=prompt_tokens(self.plant.context, self.counts, self.tokens, self.square),
        )  # fmt: skip

    def _answering_at_once(self, certified_only: bool) -> OperatingTables | None:
        if (known := self.cut_offs) is None or (certified_only and self.refused is not None):
            return None
        return answering_at_once(
            known, self.thresholds, self.budgets, classes=self.classes, longest=self.max_tokens,
            certified_only=certified_only, spread=np.array(self.square) / np.array(self.tokens),
        )  # fmt: skip

    def _racing(self, certified_only: bool) -> OperatingTables | None:
        if self.width is None or Lever.WIDTH not in self.levers:
            return None
        harm, alone = self.harm, np.array(self.accuracy)[:, 0, 0]
        spread = np.array(self.square)[:, 0, 0] / np.array(self.tokens)[:, 0, 0] ** 2
        return racing(
            self.width, alone, classes=self.classes, longest=self.max_tokens, certified_only=certified_only,
            spread=spread, account=harm is not None, own=harm is not None and harm.own,
        )  # fmt: skip

    @property
    def cut_offs(self) -> NoThoughtTables | None:
        """The points at which prompts are answered at once, if they are in use; None: they are not."""
        return self.no_thought if Lever.NO_THOUGHT in self.levers else None

    @property
    def curves(self) -> GiveUpTables | None:
        """The points at which hopeless thoughts are given up, if they are in use; None: they are not."""
        return self.give_up if Lever.GIVE_UP in self.levers else None

    @property
    def priced(self) -> PriceIndexTables | None:
        """The points at which thoughts are closed by their index, if it is in use; None: thresholds close them."""
        return self.index if Lever.PRICE_INDEX in self.levers else None

    @property
    def harm(self) -> Harm | None:
        """What an account of risk charges; None: the profile is certified without an account."""
        if self.certificate.mean is None:
            return None
        found = Harm.of(self.certificate, len(self.classes), self.curves)
        if self.benchmarks is None or not self.worst_benchmark:
            return found
        return self.benchmarks.charging(found, self.certificate.delta)

    def _charges(self, places: list[Corner]) -> Charges | None:
        if (harm := self.harm) is None:
            return None
        return Charges(of=np.stack([harm.bounds[:, c, i, j] for c, i, j in places], axis=1), own=harm.own)

    def _at(self, name: str, places: list[Corner]) -> npt.NDArray[np.float64]:
        """Returns a table [class, point] at these places."""
        levels = [getattr(self, name), *(() if self.curves is None else getattr(self.curves, name))]
        table = np.array(levels, dtype=np.float64)
        return np.stack([table[c, :, i, j] for c, i, j in places], axis=1)

    def _places(self, certified_only: bool) -> list[Corner]:
        """The points in use."""
        if certified_only and self.refused is not None:
            return [(0, 0, 0)]
        levels: tuple[tuple[tuple[bool, ...], ...], ...] = (self.certificate.certified,)
        if self.curves is not None:
            levels = self.curves.certified
        if self.cut_offs is not None:  # whose columns share δ with those that have none
            both = np.array(levels[0]) & np.array(self.cut_offs.certified[0])
            levels = (tuple(map(tuple, both.tolist())), *levels[1:])
        return [
            (c, i, j)
            for c, table in enumerate(levels)
            for i, row in enumerate(table)
            for j, safe in enumerate(row)
            if (safe or not certified_only or (c, i, j) == (0, 0, 0)) and (i > 0 or c == 0)
        ]

    @property
    def refused(self) -> str | None:
        """Why the certificate is one of nothing, so that only the full thought is served by it; None: it is not.

        Of a profile that was calibrated before evidence was kept, the table of accuracy tells.
        """
        if self.certificate.evidence is not None:
            return self.certificate.refused
        right = float(np.average(np.array(self.accuracy)[:, 0, 0], weights=self.counts))
        return refusal(right, 1.0, self.certificate.epsilon)

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


def _said(profile: Profile) -> dict[str, Any]:
    """What a profile's file holds; what was not kept yet in earlier releases has no key if it is missing."""
    said = asdict(profile)
    if profile.paired is None:
        del said["paired"]
    if profile.certificate.evidence is None:
        del said["certificate"]["evidence"]
    elif profile.certificate.evidence.by_class is None:
        del said["certificate"]["evidence"]["by_class"]
    if profile.certificate.mean is None:
        del said["certificate"]["mean"]
    if profile.answers == (AnswerKind.SHORT,):
        del said["answers"]
    for later in ("contest", "give_up", "index", "order", "no_thought", "width", "benchmarks"):
        if getattr(profile, later) is None:
            del said[later]
    if profile.benchmarks is not None and profile.benchmarks.by_class is None:
        del said["benchmarks"]["by_class"]
    del said["levers"], said["worst_benchmark"]
    return said


_FILE = Envelope(
    head=Head(format="laser-profile", version=1),
    key="profile",
    into=Profile,
    made_by="laser calibrate",
    said=_said,
    error=ProfileError,
)


def profile_of(model: Path) -> Path:
    """Returns where the profile of a model lies: in its directory, or beside its one file."""
    return beside(model, FILE_NAME)


def write_profile(path: Path, profile: Profile) -> None:
    """Write the profile to `path`, whole or not at all."""
    _FILE.write(path, profile)


def checksum(profile: Profile) -> str:
    """The sha256 that the profile's file states for its contents."""
    return sha256_of(_said(profile))


def read_profile(path: Path, model: ModelIdentity | None = None) -> Profile:
    """Reads the profile at `path`.

    Raises ProfileError if the file is unusable, or if the profile is of other weights than `model` (None: any model),
    and OtherFormatError if it is of another thinking format.
    """
    profile = _FILE.read(path)
    if model is not None and profile.model.weights_sha256 != model.weights_sha256:
        raise ProfileError(
            f"{path}: was calibrated on other weights, those of {profile.model.name!r}, than the ones in use, of "
            f"{model.name!r}; run `laser calibrate` again"
        )
    if model is not None and profile.model.thinking_sha256 != model.thinking_sha256:
        raise OtherFormatError(f"{path}: {_other_format(profile.provenance)}")
    return profile


def _other_format(provenance: Mapping[str, Any]) -> str:
    """Returns what a profile was calibrated with and what to do, where another thinking format is in use."""
    options = provenance.get("options")
    named = options.get("thinking") if isinstance(options, Mapping) else None
    hint = ""
    if named is None:
        theirs, way = "the model's own thinking format, its laser.yaml or the default", "leave --thinking out"
        hint = "; --thinking default is what models without a laser.yaml had before families were told"
    else:
        theirs, way = f"thinking format {named}", "name that one with --thinking, as it was then"
    return (
        f"was calibrated with {theirs}, and the format in use is another: {way}, or run `laser calibrate` with the one "
        f"in use{hint}"
    )


def _shape(table: Any) -> tuple[int, ...]:
    try:
        return np.shape(table)
    except ValueError as error:
        raise ValueError(f"a table's rows differ in length: {error}") from error


def _check_falling(name: str, ladder: tuple[float | None, ...]) -> None:
    steps = [math.inf if step is None else step for step in ladder]
    if not steps or steps[0] != math.inf or any(b >= a for a, b in pairwise(steps)):
        raise ValueError(f"{name} are {ladder}, must begin with None and fall")
