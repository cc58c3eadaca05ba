"""Draws every figure of an analysis into its file."""

from __future__ import annotations

from pathlib import Path

from experiments.analysis.analysis import Analysis
from experiments.analysis.plots.checks import draw_checks, draw_tornado
from experiments.analysis.plots.fronts import draw_fronts
from experiments.analysis.plots.maps import draw_cuts, draw_maps
from experiments.analysis.plots.replay import draw_replay
from experiments.analysis.plots.sweep import draw_capacity, draw_prices
from experiments.analysis.situation import Situation


def draw(directory: Path, one: Situation, found: Analysis) -> list[Path]:
    """Draws all figures into a directory and returns their paths."""
    names = ["fronts", "policy_map", "policy_cuts", "prices", "capacity", "checks", "wrong_beliefs"]
    files = [directory / f"{name}.png" for name in names]
    draw_fronts(files[0], one, found.fronts)
    draw_maps(files[1], one, found.maps)
    draw_cuts(files[2], one, found.maps)
    draw_prices(files[3], one, found.sweep, found.capacity)
    draw_capacity(files[4], one, found.capacity, found.sweep)
    draw_checks(files[5], one, found.checks)
    draw_tornado(files[6], found.misspecification)
    if found.replay is not None:
        files.append(directory / "replay.png")
        draw_replay(files[-1], one, found.replay)
    return files
