"""A table of figures, for the terminal and for reports: what its columns mean stands below it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from experiments.columns import known, meanings

WIDTH = 118  # characters of a line of text
_TIED = "\N{NO-BREAK SPACE}"  # where no line is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A text table; the first column is left-aligned, the others right-aligned.

    A head stands in experiments/columns.py, or among `names`, which are called as the data are: a benchmark, a rate.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for head in self.header:
            assert known(head) or head in self.names, f"the column {head!r} is explained in no word"


def explained(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Returns the tables with the meanings of their columns in the notes, each below the first table that has it."""
    seen: set[str] = set()
    found = []
    for one in tables:
        new = [head for head in one.header if head not in seen and head not in one.names]
        seen.update(new)
        parts = [part for part in (one.note, meanings(new)) if part]
        found.append(replace(one, note=" ".join(f"{part.rstrip('.')}." for part in parts)))
    return tuple(found)


def text(table: Table) -> str:
    """Returns a table as lines for the terminal: title, columns, and the note below them."""
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
    lines = [table.title] if table.title else []
    lines += [_line(row, widths) for row in (table.header, *table.rows)]
    return "\n".join([*lines, *wrapped(table.note, indent="  ")])


def texts(tables: Iterable[Table]) -> Iterator[str]:
    """Yields the tables as texts, each explained where it first has to be."""
    yield from map(text, explained(tables))


def wrapped(said: str, *, indent: str = "") -> list[str]:
    """Returns a text in lines of at most WIDTH characters; a number stays with its percent sign."""
    lines = textwrap.wrap(
        said.replace(" %", f"{_TIED}%"),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return [line.replace(_TIED, " ") for line in lines]


def lines_of(sentences: Iterable[str]) -> list[str]:
    """Returns sentences in lines of at most WIDTH characters, each sentence beginning a line."""
    return [line for said in sentences for line in wrapped(said)]


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)])
