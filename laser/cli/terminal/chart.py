"""A chart drawn with characters: values over time, and optionally a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

BAND, LINE, DOT = "░", "━", "·"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart; None in `values`: there is no value at that time."""

    values: Sequence[float | None]
    style: str
    mark: str = LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The area between `low` and `high`; None: there is no value at that time."""

    low: Sequence[float | None]
    high: Sequence[float | None]
    style: str


def chart(
    series: Sequence[Series],
    *,
    width: int,
    height: int,
    low: float,
    high: float,
    decimals: int = 1,
    band: Band | None = None,
) -> Text:
    """Draws `height` lines of `width` columns, the newest values at the right; later series cover earlier ones."""
    labels = [f"{high:.{decimals}f}", f"{low:.{decimals}f}"]
    margin = max(map(len, labels)) + 1
    columns = max(1, width - margin)
    cells = [[(" ", "")] * columns for _ in range(height)]

    def row(value: float) -> int:
        """Returns the row of `value`, counted from the top."""
        place = (value - low) / (high - low) * (height - 1)
        return height - 1 - round(min(max(place, 0.0), height - 1.0))

    if band is not None:
        both = list(zip(band.low, band.high, strict=True))[-columns:]
        for column, (bottom, top) in enumerate(both, columns - len(both)):
            if bottom is not None and top is not None:
                for line in range(row(top), row(bottom) + 1):
                    cells[line][column] = (BAND, band.style)
    for each in series:
        values = each.values[-columns:]
        for column, value in enumerate(values, columns - len(values)):
            if value is not None:
                cells[row(value)][column] = (each.mark, each.style)
    text = Text(no_wrap=True)
    for line, content in enumerate(cells):
        label = labels[0] if line == 0 else labels[1] if line == height - 1 else ""
        text.append(f"{label:>{margin - 1}} ", "dim")
        for mark, style in content:
            text.append(mark, style)
        if line < height - 1:
            text.append("\n")
    return text
