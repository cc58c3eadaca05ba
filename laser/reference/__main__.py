"""`python -m laser.reference`: writes docs/reference/ of a checkout anew."""

from __future__ import annotations

from pathlib import Path

from laser.reference.pages import PAGES, contents, served_pages
from laser.reference.served import service

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def write(folder: Path) -> list[str]:
    """Writes every page into the folder and removes the pages that are no more; returns the names of what changed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {name: page() for name, page in PAGES.items()} | served_pages(service())
    made = {f"{name}.md": page.markdown for name, page in pages.items()} | {"README.md": contents(pages)}
    changed = [name for name, text in made.items() if not _same(folder / name, text)]
    gone = [file.name for file in folder.glob("*.md") if file.name not in made]
    for name in changed:
        (folder / name).write_text(made[name], encoding="utf-8")
    for name in gone:
        (folder / name).unlink()
    return sorted(changed + gone)


def _same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    changed = write(FOLDER)
    print("\n".join(f"{name}: anew" for name in changed) or "docs/reference is as the code has it")
