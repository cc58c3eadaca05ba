"""What the clients' scripts share: where the server is, what it is asked, and how a check is told.

The scripts run in environments of their own, so this module imports nothing of the house. Each check prints a line:
`ok`, or `failed`, its name, and why it failed, with tabs between them.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

URL = os.environ["LASER_URL"]
MODEL = os.environ["LASER_MODEL"]
QUESTION = "Given 37, 82, 51, 92, what is the largest number?"
ANSWER = "92"

_failed: list[str] = []


def check(name: str) -> Callable[[Callable[[], None]], None]:
    """Runs what it decorates, at once, and tells whether it passed."""

    def run(what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # also what a client raises that knows errors of its own
            traceback.print_exc()
            _failed.append(name)
            told = " ".join(str(error).split()) or "an assertion"
            print(f"failed\t{name}\t{type(error).__name__}: {told[:300]}", flush=True)
        else:
            print(f"ok\t{name}", flush=True)

    return run


def done() -> None:
    """Ends the script; its status says whether all checks have passed."""
    sys.exit(bool(_failed))


def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


def largest(numbers: list[int]) -> int:
    """Finds the largest of some whole numbers."""
    return max(numbers)
