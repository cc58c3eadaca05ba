"""Names in figures are text, whatever letters they have, and a figure that fails is one clear error."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.figures import FigureError, drawn, label
from tests.support.engine_requests import search

NAMES = [
    "full $5 to $10",
    "_full",
    "price $\\frac$",
    "$",
    "$$",
    "a_b^c",
    "\\$x$",
    "a|b",
    "<b>",
    "50 %",
    "two\nlines",
    "__",
]


def legend_of(name: str, path: Path | None = None) -> list[str]:
    """The texts of a figure's legend; the figure is drawn to its end."""
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([1, 2], label=label(name))
    axes.set_title(f"{label(name)}: a title")
    legend = axes.legend()
    if path is None:
        figure.draw_without_rendering()
    else:
        figure.savefig(path)
    shown = []
    for text in legend.get_texts():
        said, formula = text._preprocess_math(text.get_text())  # type: ignore[attr-defined]  # what is drawn
        assert formula is False
        shown.append(said.strip())
    return shown


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_letter_by_letter(tmp_path: Path, name: str) -> None:
    assert legend_of(name, tmp_path / "figure.png") == [name.replace("\n", "\N{REPLACEMENT CHARACTER}")]


@given(name=st.text("$_\\{}^ab|<", min_size=1, max_size=20).filter(str.strip))
@search(10)
def test_any_name_is_shown(name: str) -> None:
    assert legend_of(name) == [name.strip()]


def test_a_long_name_is_cut() -> None:
    assert len(label("n" * 500)) == 60


def test_a_figure_that_fails_is_one_clear_error(tmp_path: Path) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.suptitle("$\\frac$")
    with pytest.raises(FigureError, match=r"^the figure could not be drawn: \w+: "):
        drawn(lambda: figure.savefig(tmp_path / "figure.png"))


def test_letters_that_the_font_lacks_are_no_failure(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(lambda: legend_of("日本", tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 1_000
