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
GLOSSARY_TITLE, PLACE = "glossary", "where"  # the glossary's column of places in the code
FIRST = (
    GLOSSARY_TITLE,
    "commands",
    "serve.yaml",
    "controller.yaml",
    "keys.yaml",
    "an experiment",
    "thinking",
    "policies",
)
"""How the titles of pages begin whose entries come before those of others that match as well."""
PLURALS = (("sses", "ss"), ("ies", "y"), ("s", ""))  # endings, and what stands for them in the singular
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
    """Returns a text as Markdown shows it in a cell: a `<` begins a tag but within backticks."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts))


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
    """Returns the entries that have all of the words, in singular or plural: the best matches first.

    First comes the glossary's own entry, then what is called so, then names with the words in them, then texts; whole
    words before parts of words; of equal matches flags before settings before the rest.
    """
    wanted = [_plain(word) for word in words.split()]
    ranked = [(_rank(words.strip(), wanted, entry), entry) for entry in entries] if wanted else []
    found = [(rank, entry) for rank, entry in ranked if rank is not None]
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _rank(said: str, wanted: Sequence[str], entry: Entry) -> tuple[int, int] | None:
    """Returns how well an entry matches, lower is better; None: it lacks a word. `wanted`: the words of `said`."""
    whole, named = _forms(" ".join(wanted)), _plain(entry.name)
    parts = re.split(r"[,/ ]+", entry.name)
    titles = {named, *re.split(r", ?", named)}
    names = {*titles, *map(_plain, parts), *(_plain(part).rpartition(".")[2] for part in parts)}
    text = _plain(f"{entry.name} {entry.where} {entry.means} {' '.join(_described(entry).values())}")
    page = entry.where.partition(",")[0].lower()
    kind = next((place for place, name in enumerate(FIRST) if page.startswith(name)), len(FIRST))
    if page == GLOSSARY_TITLE:
        names = titles
        if titles & set(whole):
            return (0 if whole[0] in titles else 1, kind)
    if re.search("[-_]", said) and said in parts:  # spelled as that flag, header or setting is
        return (2, kind)
    if whole[0] in names:
        return (3, kind)
    if names & set(whole):
        return (4, kind)
    for rank, place in ((5, named), (7, text)):
        if all(any(_has_word(form, place) for form in _forms(word)) for word in wanted):
            return (rank, kind)
        if all(word in place for word in wanted):
            return (rank + 1, kind)
    return None


def _forms(word: str) -> tuple[str, ...]:
    """Returns a word as it is, without the ending of a plural, and with it."""
    stem = next((word[: -len(end)] + new for end, new in PLURALS if re.search(rf"[a-z]{{2}}{end}$", word)), word)
    return tuple(dict.fromkeys((word, stem, f"{word}s")))


def _has_word(word: str, text: str) -> bool:
    """Whether a text has a word that is not a part of another one; `_`, `.` and `/` end words."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", text) is not None


def _described(entry: Entry) -> dict[str, str]:
    """Returns the further columns but for the place in the code, whose path has words that it does not mean."""
    return {name: value for name, value in entry.more.items() if name != PLACE}


def nearest(words: str, entries: Iterable[Entry], count: int = 3) -> list[str]:
    """Returns the names that are most like the words; empty: none is."""
    names = {_plain(part): part for entry in entries for part in (entry.name, entry.name.rpartition(".")[2])}
    return [names[name] for name in difflib.get_close_matches(_plain(words), names, n=count, cutoff=LIKE)]


def _plain(text: str) -> str:
    """Returns a text in lower case, without leading dashes, with `_` for `-`, as names are compared."""
    return text.lower().lstrip("-").replace("-", "_")
