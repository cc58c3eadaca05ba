"""A graded answer, who decided it, and the count of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class GradedBy(StrEnum):
    """Who decided whether an answer is right."""

    EXACT = "exact"  # the comparison of numbers and texts
    MATH_VERIFY = "math-verify"  # asked where the exact comparison cannot tell
    UNDECIDED = "undecided"  # math-verify took too long or failed: never right


@dataclass(frozen=True, slots=True)
class Grade:
    """Whether an answer is right, and who decided it. A grade is true if the answer is right."""

    right: bool
    by: GradedBy = GradedBy.EXACT

    def __bool__(self) -> bool:
        return self.right


def as_grade(found: Grade | bool) -> Grade:
    """Returns a grader's result as a grade; a plain truth value counts as exact."""
    return found if isinstance(found, Grade) else Grade(bool(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeCounts:
    """The numbers of answers by who decided them."""

    exact: int
    math_verify: int
    undecided: int
    overruled: int  # of math_verify: right, though the exact comparison finds another text or number

    def __str__(self) -> str:
        over = f" ({self.overruled} right that the exact comparison would miss)" if self.overruled else ""
        return f"graded by: exact {self.exact}, math-verify {self.math_verify}{over}, undecided {self.undecided}"


def grade_counts(grades: Iterable[Grade]) -> GradeCounts:
    """Counts grades by who decided them."""
    found = Counter(grades)
    by = Counter[GradedBy]()
    for grade, count in found.items():
        by[grade.by] += count
    return GradeCounts(
        exact=by[GradedBy.EXACT],
        math_verify=by[GradedBy.MATH_VERIFY],
        undecided=by[GradedBy.UNDECIDED],
        overruled=found[Grade(True, GradedBy.MATH_VERIFY)],
    )
