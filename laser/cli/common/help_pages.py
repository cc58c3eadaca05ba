"""What help pages share: what a thought is, examples at the end, options under headings, ranges that are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

THOUGHT = (
    "A reasoning model thinks before it answers: that is its thought. LASER stops the thought once its answer is sure, "
    "or when many requests wait, and lets the model answer: an early exit. A probe asks a running thought for its "
    "answer on the side and measures how sure it is."
)
EXAMPLE = "Tom has 19 books. Tom buys 33 more. Tom loses 24. How many books does Tom have at the end?"
"""A question that the bundled model knows."""


def examples(*lines: str, title: str = "Examples:") -> str:
    """Returns command lines as the end of a help page, unwrapped."""
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


class ShownIntRange(click.IntRange):
    """Shows a range in help; the configuration refuses what lies outside, in the same words for flags and files."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return click.INT.convert(value, param, ctx)


class ShownFloatRange(click.FloatRange):
    """Shows a range in help; the configuration refuses what lies outside, in the same words for flags and files."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return click.FLOAT.convert(value, param, ctx)


class SectionedCommand(click.Command):
    """Lists its options under headings; those that no heading has stand last, under `Other`."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **named: Any) -> None:
        """`sections`: the names of the options of each heading, as they are typed."""
        super().__init__(*arguments, **named)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = {
            option.opts[-1]: record
            for option in self.get_params(ctx)
            if (record := option.get_help_record(ctx)) is not None
        }
        for title, names in self.sections.items():
            rows = [left.pop(name) for name in names if name in left]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if left:
            with formatter.section("Other"):
                formatter.write_dl(list(left.values()))
