"""Lays the site out as the repository is, so that a link between two files holds on both.

Pages are README.md and its neighbours, and all of docs/. A file or folder elsewhere that a page links is a page, too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
FRONT = ("README.md", "ARCHITECTURE.md", "RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"\]\(([^)\s:#]+)(?:#[^)\s]*)?\)")  # to a file of ours
LISTED = re.compile(r"^- \[([^]:]+).*\]\((\S+\.md)\)$", re.MULTILINE)  # in the table of contents of a folder
LONGEST = 65536  # bytes of a file that is shown
EXPLAINS = {"means", "meaning"}  # a column of tables that explain words
SHORT = 30  # letters of code that stay on one line
ASIDE = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"  # the head of a page that shows a file


class Shown(File):
    """A page that shows a file or folder of the repository, at the address of what it shows."""

    def is_documentation_page(self) -> bool:
        return True


def on_config(config: MkDocsConfig) -> None:
    """Puts the pages that a folder's README lists in the place of the folder."""
    assert config.nav is not None
    config.nav = [_unfolded(entry) for entry in config.nav]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns the files of docs/ at their places in the repository, with the pages in front and with what they link."""
    laid = [file for file in files if file.src_dir != config.docs_dir]  # the theme's
    within = (file.src_uri for file in files if file.src_dir == config.docs_dir)
    for place in (*FRONT, *(f"docs/{name}" for name in within if not name.startswith("site/"))):
        laid.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    known = {file.src_uri for file in laid}
    waiting = [file for file in laid if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for place in _linked(page):
            if place not in known:
                known.add(place)
                waiting.append(_shown(place, config))
                laid.append(waiting[-1])
    return Files(laid)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Returns a page whose short code is marked, and whose cells know their columns where a table explains words.

    site.css keeps such code on one line, and lays such tables out by their columns.
    """
    html = re.sub(rf"<code>(?=[^<]{{1,{SHORT}}}</code>)", '<code class="short">', html)
    return re.sub(r"<table>.*?</table>", lambda found: _labelled(found[0]), html, flags=re.DOTALL)


def _labelled(table: str) -> str:
    columns = re.findall(r"<th[^>]*>(.*?)</th>", table)
    if not EXPLAINS & set(columns):
        return table
    names = cycle(columns)  # each row has a cell for each column
    return re.sub("<td", lambda _: f'<td data-column="{next(names)}"', table)


def _unfolded(entry: dict[str, Any]) -> dict[str, Any]:
    ((title, place),) = entry.items()
    if not isinstance(place, str) or place.endswith(".md"):
        return entry
    contents = f"{place}/README.md"
    listed = LISTED.findall((ROOT / contents).read_text(encoding="utf-8"))
    return {title: [contents, *({name: f"{place}/{page}"} for name, page in listed)]}


def _linked(page: File) -> Iterator[str]:
    """Yields what of the repository a page links."""
    for target in LINK.findall(page.content_string):
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page.src_uri), target))
        if not place.startswith("..") and (ROOT / place).exists():
            yield place


def _shown(place: str, config: MkDocsConfig) -> File:
    """Returns the page of a file or folder outside docs/."""
    path = ROOT / place
    if place.endswith(".md"):
        return File.generated(config, place, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
    told = _listing(path) if path.is_dir() else _code(path)
    page = Shown(
        place, None, config.site_dir, config.use_directory_urls, dest_uri=f"{place}.html",
        inclusion=InclusionLevel.NOT_IN_NAV,
    )  # fmt: skip
    page.generated_by, page.abs_src_path = __name__, None
    page.content_string = f"{ASIDE}# {place}\n\n{told}\n"
    return page


def _listing(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir() if _is_text(file))
    return "\n".join(f"- [{name}]({folder.name}/{name})" for name in names)


def _code(file: Path) -> str:
    fence, language = "`" * 8, file.suffix.lstrip(".")
    return f"{fence}{language}\n{file.read_text(encoding='utf-8')}\n{fence}"


def _is_text(file: Path) -> bool:
    if not file.is_file() or file.name.startswith(".") or file.stat().st_size > LONGEST:
        return False
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True
