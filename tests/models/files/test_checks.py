"""Checks of settings: every bad value is named with its field and its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from models.files.checks import SMALLEST, at_least, not_negative, positive


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


def test_what_must_be_positive_is_not_tiny_either() -> None:
    positive(Numbers(b=SMALLEST), "b")
    for value, least, limit in ((5e-324, None, "at least 1e-09"), (0.0009, 0.001, "at least 0.001")):
        with pytest.raises(ValueError, match=rf"^b is {value}, must be {limit}$"):
            positive(Numbers(b=value), "b", least=least)
    with pytest.raises(ValueError, match=r"^b is 0.0, must be finite and at least 0.001$"):
        positive(Numbers(b=0.0), "b", least=0.001)


@pytest.mark.parametrize("value", [-1e-9, math.inf, math.nan])
def test_what_must_not_be_negative(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^b is {value}, must be finite and at least 0$"):
        not_negative(Numbers(b=value), "a", "b")


def test_what_must_be_at_least_so_much() -> None:
    with pytest.raises(ValueError, match=r"^rows is 2, must be at least 3$"):
        at_least(Numbers(), 3, "rows")
