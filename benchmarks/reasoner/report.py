"""What was measured of a reasoner, as one value that can be written, and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.reasoner.aims import AIMS, QUESTIONS_SEED, ReasonerAim
from benchmarks.reasoner.asking import AskedReasoner
from benchmarks.reasoner.evidence import Numbers, ReasonerEvidence
from benchmarks.reasoner.figures import ReasonerFigure, accuracy_after, figures, steepness
from benchmarks.reasoner.size import sizes
from benchmarks.reasoner.thresholds import ReplayedThreshold, replayed, threshold_table
from benchmarks.support import report
from experiments.statistics import Proportion, proportion
from experiments.table import Table, text
from models.reasoner.tasks import SPLITS
from models.reasoner.traces import CAP

ALL = "all"
LENGTHS = (0, 16, 32, 64, 96, 128, 192, 256, 384, CAP)  # of thoughts, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAim:
    """An aim, and what was measured."""

    aim: ReasonerAim
    figure: ReasonerFigure | None  # None: not measured

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None: not measured."""
        return None if self.figure is None else self.aim.met(self.figure.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFigures:
    """The figures of a family's full thoughts."""

    questions: int
    right: Proportion
    splits: dict[str, float]  # right, by split
    direct: Proportion | None  # right without thought; None: not recorded
    capped: Proportion
    tokens: float  # mean thought
    p10: float  # of thoughts, tokens
    p50: float
    p90: float
    after: dict[int, float]  # right if no thought may have more than so many tokens
    steepness: float  # see `figures.steepness`; share


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerReport:
    """All that was measured of a reasoner."""

    held: tuple[HeldAim, ...]
    families: dict[str, FamilyFigures]
    thresholds: dict[str, tuple[ReplayedThreshold, ...]]  # by family, ALL included


def reasoner_report(asked: AskedReasoner, found: ReasonerEvidence) -> ReasonerReport:
    """Computes all figures. Raises OSError if the model's files cannot be read."""
    points = replayed(found)
    groups = {ALL: np.arange(len(found.traces)), **found.families}
    thresholds = {name: threshold_table(points, places) for name, places in groups.items()}
    measured = {**figures(found, thresholds[ALL]), **sizes(asked.directory)}
    return ReasonerReport(
        held=tuple(HeldAim(aim=aim, figure=measured.get(aim.name)) for aim in AIMS),
        families={name: family_figures(found, name, places) for name, places in found.families.items()},
        thresholds=thresholds,
    )


def family_figures(found: ReasonerEvidence, name: str, places: Numbers) -> FamilyFigures:
    """Returns the figures of a family, whose questions are at these places."""
    splits: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for place in places:
        splits[found.questions[place].split or SPLITS[0]].append(found.traces[place].right)
    directly = found.in_family(found.thought_away, name)
    p10, p50, p90 = (float(value) for value in np.percentile(found.lengths[places], [10, 50, 90]))
    return FamilyFigures(
        questions=len(places),
        right=proportion(found.right[places]),
        splits={split: sum(mine) / len(mine) for split, mine in splits.items() if mine},
        direct=proportion(found.right_directly(directly)) if len(directly) else None,
        capped=proportion(found.capped[places]),
        tokens=float(found.lengths[places].mean()),
        p10=p10,
        p50=p50,
        p90=p90,
        after={tokens: accuracy_after(found, name, tokens) for tokens in LENGTHS},
        steepness=steepness(found, name),
    )


def write_report(path: Path, told: ReasonerReport) -> None:
    """Writes a report as JSON, with how it was measured."""
    ran = report.circumstances("benchmarks.reasoner", QUESTIONS_SEED)
    said = asdict(told)
    for one, held in zip(said["held"], told.held, strict=True):
        one["met"] = held.met
    report.write(path, replace(ran, command="python -m benchmarks.reasoner measure"), said)


# --- tables ---------------------------------------------------------------------------------------------------------


def tables(told: ReasonerReport) -> str:
    """Returns the report's tables for the terminal: aims, families, accuracy by length, thresholds."""
    return "\n\n".join(text(one) for one in (_aims(told), _families(told), _by_length(told), _thresholds(told)))


def _aims(told: ReasonerReport) -> Table:
    met = sum(bool(one.met) for one in told.held)
    title = f"{met} of {len(told.held)} aims are met"
    return Table(title=title, header=AIM_HEADER, rows=tuple(map(aim_row, told.held)), names=AIM_HEADER)


AIM_HEADER = ("aim", "bar", "measured", "95 %", "met", "of", "")


def aim_row(one: HeldAim) -> tuple[str, ...]:
    """Returns an aim's row, below AIM_HEADER."""
    aim, figure = one.aim, one.figure
    bars = [f"{sign} {said(bar, aim.unit)}" for sign, bar in (("≥", aim.low), ("≤", aim.high)) if bar is not None]
    bar = ", ".join(bars) if aim.low != aim.high else said(aim.low or 0.0, aim.unit)
    if figure is None:
        return aim.name, bar, "—", "", "not measured", "", aim.says
    ends = [said(end, aim.unit).split(" ")[0] for end in (figure.low, figure.high) if end is not None]
    return (
        aim.name,
        bar,
        said(figure.value, aim.unit),
        "…".join(ends),
        "yes" if one.met else "NO",
        figure.note,
        aim.says,
    )


def said(value: float, unit: str) -> str:
    """Returns a value in words."""
    match unit:
        case "share":
            return f"{value:.1%}".replace("%", " %")
        case "points":
            return f"{value:.1f} points"
        case "times":
            return f"{value:.2f} ×"
        case "count":
            return f"{value:,.0f}"
        case _:
            return f"{value:.2f} {unit}"


def family_rows(told: ReasonerReport) -> list[tuple[str, ...]]:
    """Returns a row for each family, below FAMILY_HEADER."""
    return [
        (
            name,
            f"{one.questions:,}",
            interval(one.right),
            " / ".join(f"{100 * share:.1f}" for share in one.splits.values()),
            "—" if one.direct is None else said(one.direct.share, "share"),
            said(one.capped.share, "share"),
            f"{one.tokens:.0f}",
            f"{one.p10:.0f} / {one.p50:.0f} / {one.p90:.0f}",
            f"{100 * one.steepness:.1f}",
        )
        for name, one in told.families.items()
    ]


FAMILY_HEADER = (
    "family",
    "questions",
    "full thought right",
    " / ".join(SPLITS),
    "without thought",
    "at the cap",
    "mean thought",
    "p10 / p50 / p90",
    "two doublings",
)


def _families(told: ReasonerReport) -> Table:
    note = f"thoughts in tokens, at most {CAP}; two doublings: points of accuracy that each of two in a row adds"
    return Table(title="Families", header=FAMILY_HEADER, rows=tuple(family_rows(told)), note=note, names=FAMILY_HEADER)


THRESHOLD_HEADER = ("threshold", "accuracy", "points lost", "95 %", "net tokens", "times fewer", "worst-exit risk")


def threshold_rows(points: Sequence[ReplayedThreshold]) -> list[tuple[str, ...]]:
    """Returns a row for each threshold, below THRESHOLD_HEADER, the laxest first."""
    return [
        (
            "full thought" if one.threshold is None else f"{one.threshold:g}",
            said(one.accuracy, "share"),
            f"{one.against.points_lost:.1f}",
            f"{one.against.low:.1f}…{one.against.high:.1f}",
            f"{one.tokens:.0f}",
            f"{one.times:.2f}",
            interval(one.risk),
        )
        for one in reversed(points)
    ]


def interval(share: Proportion) -> str:
    """Returns a share with its interval, in per cent."""
    return f"{100 * share.share:.1f} % ({100 * share.low:.1f}…{100 * share.high:.1f})"


def _by_length(told: ReasonerReport) -> Table:
    header = ("family", *(f"{tokens}" for tokens in LENGTHS))
    rows = tuple(
        (name, *(f"{100 * one.after[tokens]:.1f}" for tokens in LENGTHS)) for name, one in told.families.items()
    )
    note = "the last trial answer until then; before the first probe the answer without thought"
    return Table(
        title="Right, %, if no thought may have more tokens than", header=header, rows=rows, note=note, names=header
    )


def _thresholds(told: ReasonerReport) -> Table:
    return Table(
        title="Thresholds, all families",
        header=THRESHOLD_HEADER,
        rows=tuple(threshold_rows(told.thresholds[ALL])),
        names=THRESHOLD_HEADER,
    )
