"""Formats an evaluation as text for the terminal: what it means, then the tables."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.evaluation.breakdown import Breakdown, Group, Verification
from experiments.evaluation.reliability import Calibration
from experiments.evaluation.report import Evaluation
from experiments.evaluation.sweeps import ExitPoint, ServedPass, ThresholdSweep
from experiments.evaluation.verdict import given, verdict
from experiments.statistics import Difference, Proportion
from experiments.table import Table, lines_of, texts
from models.score import Score

SCORE_NAMES = {Score.GEOMETRIC_MEAN: "geometric mean", Score.JOINT: "joint probability", Score.MINIMUM: "minimum"}
NONE = "—"


def summary(figures: Evaluation) -> str:
    """Returns what the figures mean, then accuracy, verification, calibration, and the price of early exit as text."""
    begins = "\n".join(lines_of(verdict(figures)))
    return "\n\n".join([begins, *texts(_tables(figures)), f"answers and probes {figures.grading}"])


def _tables(figures: Evaluation) -> Iterator[Table]:
    yield _accuracy(figures.breakdown)
    yield _verification(figures.breakdown)
    if figures.calibration.all is not None:
        yield _calibration(figures.calibration.all, figures.breakdown.all.transitions.price)
        yield from _thresholds(figures.thresholds[figures.score])
    if figures.served:
        yield _served(figures.served)


def _accuracy(found: Breakdown) -> Table:
    rows = []
    for name, benchmark in found.benchmarks.items():
        rows.append(_accuracy_row(name, benchmark.all))
        rows += [_accuracy_row(f"  {split}", group) for split, group in benchmark.splits.items()]
    if len(found.benchmarks) > 1:
        rows.append(_accuracy_row("all", found.all))
    return Table(
        title="Full thought",
        header=(
            "benchmark", "questions", "accuracy", "95 %", "thought tokens", "p10", "p50", "p90", "p99", "longest",
            "cut", "unended",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def _accuracy_row(name: str, group: Group) -> tuple[str, ...]:
    of, thought = group.accuracy, group.thought
    lengths = (thought.mean, thought.p10, thought.p50, thought.p90, thought.p99, thought.max)
    return (
        name, str(of.count), f"{of.share:.1%}", _interval(of), *(f"{value:.0f}" for value in lengths), str(group.cut),
        str(group.unended),
    )  # fmt: skip


def _verification(found: Breakdown) -> Table:
    groups = {name: benchmark.all for name, benchmark in found.benchmarks.items()}
    if len(groups) > 1:
        groups["all"] = found.all
    stated = found.all.verification.counted > 0
    points = f"A thought has {found.all.transitions.per_thought:.1f} places where it may be closed, in the mean"
    return Table(
        title="What thoughts do once they have stated an answer",
        header=("benchmark", "stated", "first", "final", "fixed", "broken", "verification", "before", "after"),
        rows=tuple((name, *_verified(group.verification), *_points(group)) for name, group in groups.items()),
        note=points if stated else f"{points}; no thought has stated a first answer, as the thinking format tells one",
    )


def _verified(of: Verification) -> tuple[str, ...]:
    if of.first_accuracy is None or of.final_accuracy is None or of.share is None:
        return (str(of.counted), *[NONE] * 5)
    return (
        str(of.counted), f"{of.first_accuracy.share:.1%}", f"{of.final_accuracy.share:.1%}", str(of.fixed),
        str(of.broken), f"{of.share:.1%}",
    )  # fmt: skip


def _points(group: Group) -> tuple[str, str]:
    of = group.transitions
    if of.before is None or of.at_or_after is None:
        return NONE, NONE
    return f"{of.before:.1f}", f"{of.at_or_after:.1f}"


def _calibration(found: Calibration, price: float | None) -> Table:
    rows = []
    for score, of in found.scores.items():
        area = NONE if of.auroc is None else f"{of.auroc:.3f}"
        cost = NONE if price is None else f"{price:.1%}"
        probes = (str(found.right.count), f"{found.right.share:.1%}")
        rows.append((SCORE_NAMES[score], *probes, f"{of.error:.3f}", area, cost))
    return Table(
        title="What confidence is worth",
        header=("score", "probes", "right", "ECE", "AUROC", "probing cost"),
        rows=tuple(rows),
    )


_SWEPT = (
    "accuracy", "points lost, 95 %", "lost", "gained", "tokens", "saved", "gross", "probing", "closed early",
)  # fmt: skip


def _thresholds(sweep: ThresholdSweep) -> Iterator[Table]:
    yield Table(
        title=f"Closing thoughts at a threshold on the {SCORE_NAMES[sweep.score]}, computed from the full thoughts",
        header=("threshold", *_SWEPT),
        rows=tuple((f"{point.threshold:.2f}", *_swept(point)) for point in sweep.all),
    )
    if len(sweep.benchmarks) > 1:
        points = {name: given(mine) for name, mine in sweep.benchmarks.items()}
        yield Table(
            title=f"The same at {given(sweep.all).threshold:.2f}, each benchmark by itself",
            header=("benchmark", *_SWEPT),
            rows=tuple((name, *_swept(point)) for name, point in points.items()),
        )


def _swept(point: ExitPoint) -> tuple[str, ...]:
    return (
        f"{point.accuracy:.1%}", *_difference(point.against), f"{point.tokens:.0f}", f"{point.saved:.1%}",
        f"{point.gross:.1%}", NONE if point.overhead is None else f"{point.overhead:.1%}", f"{point.exits:.1%}",
    )  # fmt: skip


def _served(passes: tuple[ServedPass, ...]) -> Table:
    rows = [
        (
            _way(one), f"{one.accuracy.share:.1%}", _interval(one.accuracy), *_difference(one.against),
            f"{one.tokens:.0f}", f"{one.saved:.1%}", f"{one.closed:.1%}",
        )
        for one in passes
    ]  # fmt: skip
    return Table(
        title="Really served, each in a pass of its own",
        header=("way", "accuracy", "95 %", "points lost, 95 %", "lost", "gained", "tokens", "saved", "closed early"),
        rows=tuple(rows),
    )


def _way(one: ServedPass) -> str:
    if one.budget is not None:
        return f"budget {one.budget}"
    return f"threshold {one.threshold:.2f}" if one.threshold is not None else f"temperature {one.temperature:.2f}"


def _interval(of: Proportion) -> str:
    return f"{100 * of.low:.1f}…{100 * of.high:.1f}"


def _difference(of: Difference) -> tuple[str, ...]:
    sure = NONE if of.lost == of.gained == 0 else f"{of.low:.1f}…{of.high:.1f}"  # resampling tells nothing of none
    return f"{of.points_lost:.1f} ({sure})", str(of.lost), str(of.gained)
