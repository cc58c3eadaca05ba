"""Checks of settings: every bad value is named with its field and its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from models.files.checks import at_least, not_negative, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    a: float | None = 1.0
    b: float | None = 0.0
    rows: int | None = 2


def test_good_values_and_those_not_given_pass() -> None:
    positive(Numbers(), "a", "rows")
    not_negative(Numbers(), "a", "b", "rows")
    at_least(Numbers(), 2, "rows")
    none = Numbers(a=None, b=None, rows=None)
    positive(none, "a", "b")
    not_negative(none, "a", "b")
    at_least(none, 2, "rows")


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_must_be_positive(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^b is {value}, must be finite and above 0$"):
        positive(Numbers(b=value), "a", "b")


@pytest.mark.parametrize("value", [-1e-9, math.inf, math.nan])
def test_what_must_not_be_negative(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^b is {value}, must be finite and at least 0$"):
        not_negative(Numbers(b=value), "a", "b")


def test_what_must_be_at_least_so_much() -> None:
    with pytest.raises(ValueError, match=r"^rows is 2, must be at least 3$"):
        at_least(Numbers(), 3, "rows")
