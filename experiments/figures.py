"""Names in figures are text, and a figure that fails costs nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from models.errors import LaserError

LONGEST = 60  # characters of a name in a figure


class FigureError(LaserError):
    """A figure could not be drawn; the message says why."""


def label(name: str) -> str:
    """Returns a name as matplotlib shows it letter by letter.

    A dollar would begin a formula, and a legend leaves out what begins with an underscore.
    """
    seen = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
    cut = seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}…"
    return (" " if cut.startswith("_") else "") + cut.replace("$", r"\$")


def drawn(draw: Callable[[], object]) -> None:
    """Draws a figure. Raises FigureError, which says what came to pass, if it fails in any way.

    Letters that the font lacks are drawn as boxes.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            draw()
    except LaserError:
        raise
    except Exception as error:  # matplotlib raises what its layout, its fonts and its parser raise
        told = " ".join(str(error).split())[:200]
        raise FigureError(f"the figure could not be drawn: {type(error).__name__}: {told}") from error
