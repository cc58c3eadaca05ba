"""Formats an evaluation as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.evaluation.breakdown import Breakdown, Group, Verification
from experiments.evaluation.reliability import Calibration
from experiments.evaluation.report import Evaluation
from experiments.evaluation.sweeps import ServedPass, ThresholdSweep
from experiments.statistics import Difference, Proportion
from models.score import Score

SCORE_NAMES = {Score.GEOMETRIC_MEAN: "geometric mean", Score.JOINT: "joint probability", Score.MINIMUM: "minimum"}


def summary(figures: Evaluation) -> str:
    """Returns accuracy, verification, calibration, and the gains and costs of early exit as text."""
    width = max(14, *(len(name) + 2 for name in figures.breakdown.benchmarks))
    lines = [
        *_accuracy(figures.breakdown, width),
        "",
        *_verification(figures.breakdown, width),
        "",
        *_calibration(figures.calibration.all, figures.breakdown.all.transitions.price),
        "",
        f"thresholds on the {SCORE_NAMES[figures.score]}",
        *_thresholds(figures.thresholds[figures.score]),
    ]
    if figures.served:
        lines += ["", *_served(figures.served)]
    lines += ["", f"answers and probes {figures.grading}"]
    return "\n".join(lines)


def _accuracy(found: Breakdown, width: int) -> Iterator[str]:
    yield (
        f"{'full thought':<{width}}{'n':>6}{'accuracy':>10}{'95 %':>13}"
        f"{'thought tokens: mean':>22}{'p10':>6}{'p50':>6}{'p90':>6}{'p99':>6}{'max':>6}{'cut':>5}{'unended':>9}"
    )
    for name, benchmark in found.benchmarks.items():
        yield _accuracy_row(name, benchmark.all, width)
        for split, group in benchmark.splits.items():
            yield _accuracy_row(f"  {split}", group, width)
    if len(found.benchmarks) > 1:
        yield _accuracy_row("all", found.all, width)


def _accuracy_row(name: str, group: Group, width: int) -> str:
    of, thought = group.accuracy, group.thought
    lengths = "".join(f"{value:>6.0f}" for value in (thought.p10, thought.p50, thought.p90, thought.p99, thought.max))
    return (
        f"{name:<{width}}{of.count:>6}{of.share:>10.1%}{_interval(of):>13}"
        f"{thought.mean:>22.0f}{lengths}{group.cut:>5}{group.unended:>9}"
    )


def _verification(found: Breakdown, width: int) -> Iterator[str]:
    if found.all.verification.counted == 0:
        points = found.all.transitions.per_thought
        yield f"{points:.1f} transition points per thought; no thought has stated a first answer"
        return
    yield (
        f"{'first answer':<{width}}{'counted':>9}{'first':>8}{'final':>8}{'fixed':>7}{'broken':>8}"
        f"{'verification':>14}{'transition points: before':>27}{'after':>7}"
    )
    groups = {name: benchmark.all for name, benchmark in found.benchmarks.items()}
    if len(groups) > 1:
        groups["all"] = found.all
    for name, group in groups.items():
        yield f"{name:<{width}}{_verified(group.verification)}{_points(group)}"


def _verified(of: Verification) -> str:
    if of.first_accuracy is None or of.final_accuracy is None or of.share is None:
        return f"{of.counted:>9}{'—':>8}{'—':>8}{'—':>7}{'—':>8}{'—':>14}"
    return (
        f"{of.counted:>9}{of.first_accuracy.share:>8.1%}{of.final_accuracy.share:>8.1%}{of.fixed:>7}{of.broken:>8}"
        f"{of.share:>14.1%}"
    )


def _points(group: Group) -> str:
    of = group.transitions
    if of.before is None or of.at_or_after is None:
        return f"{'—':>27}{'—':>7}"
    return f"{of.before:>27.1f}{of.at_or_after:>7.1f}"


def _calibration(found: Calibration | None, price: float | None) -> Iterator[str]:
    if found is None:
        yield "No thought was probed: there is nothing to close early"
        return
    yield f"{'probes':<20}{'n':>7}{'right':>8}{'ECE':>8}{'AUROC':>8}{'cost of what it may save':>27}"
    for score, of in found.scores.items():
        area = "—" if of.auroc is None else f"{of.auroc:.3f}"
        yield (
            f"{SCORE_NAMES[score]:<20}{found.right.count:>7}{found.right.share:>8.1%}{of.error:>8.3f}{area:>8}"
            + ("" if price is None else f"{price:>27.1%}")
        )


def _thresholds(sweep: ThresholdSweep) -> Iterator[str]:
    yield (
        f"{'threshold':>9}{'accuracy':>10}{'points lost, 95 %':>23}{'lost':>6}{'gained':>8}{'tokens':>8}"
        f"{'saved: gross':>14}{'net':>8}{'probing/gross':>15}{'closed early':>14}"
    )
    for point in sweep.all:
        overhead = "—" if point.overhead is None else f"{point.overhead:.1%}"
        yield (
            f"{point.threshold:>9.2f}{point.accuracy:>10.1%}{_difference(point.against)}{point.tokens:>8.0f}"
            f"{point.gross:>14.1%}{point.saved:>8.1%}{overhead:>15}{point.exits:>14.1%}"
        )


def _served(passes: tuple[ServedPass, ...]) -> Iterator[str]:
    yield (
        f"{'really served':<18}{'accuracy':>10}{'95 %':>13}{'points lost, 95 %':>23}{'lost':>6}{'gained':>8}"
        f"{'tokens':>8}{'saved':>8}{'closed':>8}"
    )
    for one in passes:
        yield (
            f"{_way(one):<18}{one.accuracy.share:>10.1%}{_interval(one.accuracy):>13}{_difference(one.against)}"
            f"{one.tokens:>8.0f}{one.saved:>8.1%}{one.closed:>8.1%}"
        )


def _way(one: ServedPass) -> str:
    if one.budget is not None:
        return f"budget {one.budget}"
    return f"threshold {one.threshold:.2f}" if one.threshold is not None else f"temperature {one.temperature:.2f}"


def _interval(of: Proportion) -> str:
    return f"{100 * of.low:.1f}…{100 * of.high:.1f}"


def _difference(of: Difference) -> str:
    return f"{f'{of.points_lost:.1f} ({of.low:.1f}…{of.high:.1f})':>23}{of.lost:>6}{of.gained:>8}"
