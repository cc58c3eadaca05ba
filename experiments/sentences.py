"""Figures as parts of a sentence: percentages, points and intervals, written alike everywhere."""

from __future__ import annotations

from experiments.statistics import Difference, Proportion

FEW = 100  # questions or requests; below, an interval is too wide to choose by


def percent(share: float, digits: int = 1) -> str:
    """Returns a share as "28.5 %"."""
    return f"{100 * share:.{digits}f} %"


def points(number: float, digits: int = 1) -> str:
    """Returns a number of percentage points as "1.0 point", without its sign."""
    said = f"{abs(number):.{digits}f}"
    return f"{said} point{'' if float(said) == 1.0 else 's'}"


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun: "1 question", "4,000 questions"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def between(low: float, high: float, digits: int = 1) -> str:
    """Returns a 95 % interval as "(95 %: 0.2 … 1.8)"."""
    return f"(95 %: {_rounded(low, digits)} … {_rounded(high, digits)})"


def _rounded(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}"  # no zero with a sign


def right(of: Proportion) -> str:
    """Returns how many are right, with the interval."""
    return f"{percent(of.share)} {between(100 * of.low, 100 * of.high)}"


def costs(of: Difference, count: int) -> str:
    """Returns what a change costs in accuracy on `count` questions: "costs 1.0 point of accuracy (95 %: 0.2 … 1.8)".

    Where no answer has changed, resampling finds no spread; the share that may change is then below 1 − .05^(1/count).
    """
    if of.lost == of.gained == 0:
        return f"changes no right answer (95 %: less than {points(100 * (1 - 0.05 ** (1 / count)))} lost)"
    if round(of.points_lost, 1) == 0.0:
        return f"changes accuracy by less than 0.1 points {between(of.low, of.high)}"
    if of.points_lost < 0.0:
        return f"gains {points(of.points_lost)} of accuracy {between(-of.high, -of.low)}"
    return f"costs {points(of.points_lost)} of accuracy {between(of.low, of.high)}"


def saves(share: float) -> str:
    """Returns what a change saves in tokens: "saves 28.5 % of the tokens, probes counted"."""
    if round(share, 3) < 0.0:
        return f"saves nothing (with its probes {percent(-share)} more tokens are decoded)"
    return f"saves {percent(share)} of the tokens, probes counted," if round(share, 3) > 0.0 else "saves nothing"
