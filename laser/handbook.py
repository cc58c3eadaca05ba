"""The reference as pages of tables: written as Markdown, read back from it, and searched by name and text.

The pages lie in docs/ of a checkout and in the wheel; `python -m laser.reference` writes those of docs/reference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.errors import LaserError

NAME, MEANS = "name", "means"  # the first column and the last
PLACES = (Path(__file__).parent / "docs", Path(__file__).parents[1] / "docs")  # in the wheel, in a checkout
CONTENTS, GLOSSARY = "reference/README.md", "glossary.md"
LIKE = 0.6  # how much of a name a word must have for the name to be proposed


class HandbookError(LaserError):
    """The pages cannot be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the reference."""

    name: str
    means: str
    more: Mapping[str, str] = field(default_factory=dict)  # further columns, such as unit and default
    where: str = ""  # the page and chapter that hold it


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A heading, a text and a table."""

    title: str
    text: str = ""
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the reference; its chapters stand in order."""

    title: str
    text: str
    chapters: tuple[Chapter, ...]

    @property
    def markdown(self) -> str:
        """The page as Markdown."""
        parts = [f"# {self.title}", self.text]
        for chapter in self.chapters:
            parts += [f"## {chapter.title}", chapter.text, _table(chapter.entries)]
        return "\n\n".join(part for part in parts if part) + "\n"


def _table(entries: Sequence[Entry]) -> str:
    """Returns the entries as a table, whose columns are all that an entry has something to say in."""
    if not entries:
        return ""
    columns = list(dict.fromkeys(name for entry in entries for name, value in entry.more.items() if value))
    rows = [[NAME, *columns, MEANS], ["---"] * (len(columns) + 2)]
    rows += [[f"`{e.name}`", *(e.more.get(name, "") for name in columns), e.means] for e in entries]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def entries_of(markdown: str, fallback: str = "") -> Iterator[Entry]:
    """Yields the rows of all tables of a page; `fallback` stands for its title if it has none."""
    title, heading, header = fallback, "", list[str]()
    for line in markdown.split("\n"):
        if line.startswith("# "):
            title = line[2:]
        elif line.startswith("## "):
            heading = line[3:]
        if not line.startswith("|"):
            header = []
            continue
        cells = [
            cell.strip().replace("\\|", "|").replace("&lt;", "<") for cell in re.split(r"(?<!\\)\|", line.strip("| "))
        ]
        if not header:
            header = cells
        elif not set(line) <= set("|- "):
            told = dict(zip(header[1:], cells[1:], strict=False))
            means = told.pop(MEANS, "")
            name = cells[0].strip("`* ")
            yield Entry(name=name, means=means, more=told, where=f"{title}, {heading}" if heading else title)


def handbook() -> list[Entry]:
    """Returns every entry of the reference and of the glossary. Raises HandbookError if there are no pages."""
    for place in PLACES:
        contents = place / CONTENTS
        if contents.is_file():
            listed = re.findall(r"\]\((\S+\.md)\)", contents.read_text(encoding="utf-8"))
            files = [*(contents.with_name(name) for name in listed), place / GLOSSARY]
            return _merged(entry for file in files for entry in entries_of(file.read_text(encoding="utf-8"), file.stem))
    raise HandbookError(f"there is no reference in {' or '.join(map(str, PLACES))}")


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """Returns the entries with those that say the same of one name made one."""
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.name, entry.means, str(entry.more))
        other = found.get(key)
        found[key] = entry if other is None else replace(other, where=f"{other.where}; {entry.where}")
    return list(found.values())


def find(words: str, entries: Iterable[Entry]) -> list[Entry]:
    """Returns the entries that have all of the words: first those of that name, then by name, then by text."""
    wanted = [_plain(word) for word in words.split()]
    whole = " ".join(wanted)
    ranked = []
    for entry in entries:
        names = [_plain(name) for name in re.split(r"[,/ ]+", entry.name)]
        names += [name.rpartition(".")[2] for name in names]
        named, text = (
            _plain(entry.name),
            _plain(f"{entry.name} {entry.where} {entry.means} {' '.join(entry.more.values())}"),
        )
        if words.strip() in re.split(r"[,/ ]+", entry.name):
            ranked.append((0, entry))
        elif whole == named or whole in names:
            ranked.append((1, entry))
        elif all(word in named for word in wanted):
            ranked.append((2, entry))
        elif wanted and all(word in text for word in wanted):
            ranked.append((3, entry))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def nearest(words: str, entries: Iterable[Entry], count: int = 3) -> list[str]:
    """Returns the names that are most like the words; empty: none is."""
    names = {_plain(part): part for entry in entries for part in (entry.name, entry.name.rpartition(".")[2])}
    return [names[name] for name in difflib.get_close_matches(_plain(words), names, n=count, cutoff=LIKE)]


def _plain(text: str) -> str:
    """Returns a text in lower case, without leading dashes, with `_` for `-`, as names are compared."""
    return text.lower().lstrip("-").replace("-", "_")
