"""Reads the hand-written prompts of handwritten.jsonl, which no template made, and tells how often their kind is right.

Signs and classifier together, as in serving. Prompts marked `seen` were looked at while the signs were written.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.kinds.prompts import KnownPrompt
from experiments.statistics import interval
from models.kinds.kind import AnswerKind
from models.kinds.reading import KindReader
from models.kinds.said import Words

FILE = Path(__file__).with_name("handwritten.jsonl")


def handwritten(*, seen: bool) -> list[KnownPrompt]:
    """Returns the prompts that were, or were not, looked at while the signs were written."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [
        KnownPrompt(
            said=Words(asked=row["asked"], system=row.get("system", "")), kind=AnswerKind(row["kind"]), template="hand"
        )
        for row in rows
        if row.get("seen", False) is seen
    ]


def show(reader: KindReader, prompts: Sequence[KnownPrompt], *, wrong: bool) -> None:
    """Prints a table of what the prompts are read as; `wrong`: and those prompts of which a part is lost."""
    read = [(prompt, reader.read(prompt.said).kind) for prompt in prompts]
    for kind in AnswerKind:
        told = Counter(found for prompt, found in read if prompt.kind is kind)
        click.echo(f"  {kind:12}{told.total():>5}  " + ", ".join(f"{count} {other}" for other, count in told.items()))
    others = [(prompt, found) for prompt, found in read if prompt.kind is not AnswerKind.SHORT]
    tried = sum(found is AnswerKind.SHORT for _, found in others)
    low, high = interval(tried, len(others))
    click.echo(f"  not short, and would be tried: {tried} of {len(others)} ({low:.1%}…{high:.1%})")
    if wrong:
        for prompt, found in read:
            if prompt.kind is not found:
                click.echo(f"    {prompt.kind} read as {found}: {prompt.said.asked[:90]!r}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.held_out", description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="also print those of the former that are read otherwise")
    arguments = parser.parse_args()
    reader = KindReader.shipped()
    for seen, words in ((True, "looked at"), (False, "never looked at")):
        click.echo(f"hand-written prompts, {words}:")
        show(reader, handwritten(seen=seen), wrong=arguments.wrong and seen)


if __name__ == "__main__":
    main()
