"""What the code says of its own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from models.comments import described, summary


@dataclass(frozen=True)
class Told:
    """Holds fields that are described
    in every way.

    More of it.
    """

    beside: int = 1  # None: what stands beside it
    # what stands
    # above it
    above: int = 2
    """what stands below goes first"""
    # of several lines
    several: list[int] = field(
        default_factory=list,  # inside
    )
    silent: int = 3  # fmt: skip
    both: str = "#"  # True, beside what is for a tool  # fmt: skip


@dataclass(frozen=True)
class Heir(Told):
    beside: int = 4  # what the heir says
    own: int = 5  # its own


class Kind(StrEnum):
    """Is one of two. Raises nothing."""

    ONE = "one"  # the first
    TWO = "two"


def test_a_field_is_described_by_the_comment_beside_or_above_it_or_the_text_below() -> None:
    assert described(Told) == {
        "beside": "null: what stands beside it",
        "above": "what stands below goes first",
        "several": "of several lines",
        "both": "true, beside what is for a tool",
    }


def test_an_heir_has_the_descriptions_of_its_bases_and_its_own() -> None:
    assert list(described(Heir)) == [*described(Told), "own"]
    assert described(Heir)["beside"] == "what the heir says"


def test_the_members_of_an_enumeration_are_described() -> None:
    assert described(Kind) == {"ONE": "the first"}


def test_a_summary_is_the_first_paragraph_in_one_line_without_errors() -> None:
    assert summary(Told) == "Holds fields that are described in every way."
    assert summary(Kind) == "Is one of two."


def test_a_class_without_source_is_not_described() -> None:
    assert described(type("Made", (), {"x": 1, "__module__": "nowhere_at_all"})) == {}
    assert described(int) == {}
