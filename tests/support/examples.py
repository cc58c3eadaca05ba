"""Runs the example in a docstring."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

MOST_LINES = 10


def run_example(function: Callable[..., Any]) -> None:
    """Fails unless the function's docstring has an example of at most 10 lines that does what it says."""
    every = doctest.DocTestFinder().find(function, function.__name__, globs={})
    (found,) = (each for each in every if each.name == function.__name__)  # of a class, not of its methods
    assert 0 < len(found.examples) <= MOST_LINES
    told: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(found, out=told.append).failed == 0, "".join(told)
