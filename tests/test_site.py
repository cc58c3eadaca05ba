"""mkdocs.yml knows every page, and what pages link is there: in the repository, and so on the site of `make site`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
CODE = re.compile(r"^(`{3,}).*?^\1|^ {4}.*?$|`[^`\n]+`", re.DOTALL | re.MULTILINE)  # blocks and spans
LINK = re.compile(r"\]\(([^)\s]+)\)")


def places(nav: list[Any]) -> Iterator[str]:
    """Yields the places of a navigation, a folder as such."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from places(value)


NAV = sorted(places(SITE["nav"]))
LISTED = [place for place in NAV if not place.endswith(".md")]  # folders whose README lists their pages
PAGES = sorted({*(ROOT / place for place in NAV if place.endswith(".md")), *DOCS.rglob("*.md")})


def links(page: Path) -> list[str]:
    """Returns what a page links of the repository, outside of its code."""
    found = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, of which no two are alike."""
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_navigation_has_every_page_of_docs_and_nothing_else() -> None:
    assert [place for place in NAV if not (ROOT / place).exists()] == []
    told = {ROOT / place for place in NAV}
    for folder in LISTED:
        contents = ROOT / folder / "README.md"
        told |= {contents, *(contents.with_name(name) for name in links(contents))}
    assert sorted(str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page not in told) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    astray = []
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.resolve().is_relative_to(ROOT) or not target.exists():
            astray.append(link)
        elif anchor and anchor not in anchors(target):
            astray.append(f"{link}: no such heading")
    assert astray == []


def test_the_site_fetches_nothing() -> None:
    assert SITE["theme"]["font"] is False
    assert "offline" in SITE["plugins"]
    assert not re.search("https?:", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for file in (DOCS / "site" / "theme").iterdir():
        assert not re.search("https?:", file.read_text(encoding="utf-8")), file
