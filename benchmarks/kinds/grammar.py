"""Prompts from templates. `{slot}` is filled from a pool, and of `(this|that)` one way is taken; a way may be empty.

The folder templates/ has a file for each kind of answer with a template on each line, and pools.txt with a pool on each
line: all kinds draw from the same pools, so that subjects tell nothing of the answer. `\\n` is a line break.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("templates")
NUMBERS: Mapping[str, tuple[int, int]] = {"d": (2, 9), "n": (2, 99), "m": (100, 9999), "year": (1400, 2020)}

_SLOT = re.compile(r"\{(\w+)\}")
_WAYS = re.compile(r"\(([^()]*\|[^()]*)\)")


def templates(name: str) -> tuple[str, ...]:
    """Returns the templates of a file, by its name without its ending."""
    return tuple(map(_plain, (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()))


def pools() -> dict[str, Sequence[str]]:
    """Returns what fills the slots, by their names."""
    lines = (FOLDER / "pools.txt").read_text(encoding="utf-8").splitlines()
    named = (line.partition(": ") for line in lines)
    return {name: tuple(map(_plain, entries.split(" | "))) for name, _, entries in named}


def fill(template: str, slots: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    """Returns one prompt of a template; slots that are no pool's are the numbers of NUMBERS."""

    def way(found: re.Match[str]) -> str:
        ways = found.group(1).split("|")
        return ways[int(rng.integers(len(ways)))]

    def slot(found: re.Match[str]) -> str:
        name = found.group(1)
        if name in NUMBERS:
            low, high = NUMBERS[name]
            return str(int(rng.integers(low, high + 1)))
        return slots[name][int(rng.integers(len(slots[name])))]

    text = template
    while True:
        filled = _SLOT.sub(slot, _WAYS.sub(way, text))
        if filled == text:
            return text
        text = filled


def _plain(line: str) -> str:
    return line.replace("\\n", "\n")
