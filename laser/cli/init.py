"""`laser init`: lays out the files that come with LASER: settings, keys, thinking formats, experiments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from laser.cli.common.messages import errors_in_one_line
from models.errors import LaserError
from models.files.replacement import told_of
from models.shipped import shipped_configs

SECRET = "keys.yaml"  # only its owner may read it
LONGEST = 90  # letters that are told of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOut:
    """What became of one file."""

    file: Path
    what: str  # the file is, in its own words
    kept: bool  # there was another file, which stays
    old: bool = False  # it was there before


class LayOutError(LaserError):
    """Files cannot be laid out in a directory."""


@click.command("init")
@click.argument("directory", metavar="[DIR]", default="configs", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Lay out example files in DIR, to copy from and to change. [default: configs]

    serve.yaml, controller.yaml and keys.yaml list every setting; experiments/ has files for `laser experiment`, models/
    the thinking formats. The commands of README and docs/ that name configs/… work beside DIR if it is called configs.
    A file that is there already stays as it is.
    """
    with errors_in_one_line():
        found = list(lay_out(shipped_configs(), directory))
    width = max(len(str(one.file)) for one in found)
    for one in found:
        became = "yours differs and is kept" if one.kept else "is there already" if one.old else one.what
        click.echo(f"{one.file!s:<{width}}  {became}")


def lay_out(source: Path, directory: Path) -> Iterator[LaidOut]:
    """Copies every file of `source` that `directory` lacks, and yields what became of each.

    Raises LayOutError if the directory or one in it cannot be made, WriteError if a file cannot be written.
    """
    for file in sorted(source.rglob("*.yaml"), key=lambda file: (len(file.relative_to(source).parts), file)):
        target = directory / file.relative_to(source)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LayOutError(f"{target.parent}: cannot be made a directory: {error.strerror}") from error
        old = target.exists()
        yield LaidOut(file=target, what=_first_words(file), kept=not _laid(file.read_bytes(), target), old=old)


def _laid(text: bytes, target: Path) -> bool:
    """Writes a file that is missing. Returns whether the file holds `text` now."""
    with told_of(target):
        try:
            mode = 0o600 if target.name == SECRET else 0o666  # less the umask
            with open(target, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
                file.write(text)
        except FileExistsError:
            if not target.is_file():
                raise LayOutError(f"{target}: is no file, must be one") from None
            return target.read_bytes() == text
    return True


def _first_words(file: Path) -> str:
    """Returns the sentence that a file's comment begins with; of a long one, what stands before its colon."""
    lines = file.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    said = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    sentence = said.partition(". ")[0]
    return sentence if len(sentence) <= LONGEST else sentence.partition(": ")[0]
