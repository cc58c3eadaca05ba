"""Profiles and plants for tests of the controller's mathematics: random ones of any shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.profile.give_up import LADDER
from models.profile.plant import Plant, StepTime
from models.profile.tables import OperatingPoint, OperatingTables
from models.profile.width import RaceRule

GPU = Plant(step_time=StepTime(a=0.010, c=0.0005), max_batch=16)
CLASSES = ("easy", "medium", "hard")


def random_profile(rng: np.random.Generator) -> OperatingTables:
    """Tables that are neither monotone nor concave; most points give hopeless thoughts up, by some curve."""
    classes, count = int(rng.integers(1, 4)), int(rng.integers(3, 13))
    curves = (None, *LADDER)
    points = tuple(
        OperatingPoint(
            threshold=float(rng.uniform(0.5, 1.0)),
            budget=round(rng.uniform(50, 4000)),
            give_up=curves[number % len(curves)],
        )
        for number in range(count)
    )
    return OperatingTables(
        classes=CLASSES[:classes],
        points=points,
        tokens=rng.uniform(50, 3000, (classes, count)),
        accuracy=rng.uniform(0.1, 1.0, (classes, count)),
        shed_tokens=float(rng.uniform(0.0, 20.0)),
        medians=(100.0, 200.0, 400.0)[:classes],
    )


def with_squares(tables: OperatingTables, rng: np.random.Generator) -> OperatingTables:
    """The tables of requests whose prompts and spreads are known, too."""
    spread = rng.uniform(1.0, 2.5, tables.tokens.shape)
    return replace(tables, square=spread * tables.tokens**2, prompt=float(rng.uniform(0.0, 500.0)))


def with_races(tables: OperatingTables, rng: np.random.Generator) -> OperatingTables:
    """The tables with a full thought in front, and races behind: some win, some lose."""
    classes = len(tables.classes)
    full, right = rng.uniform(1000, 3000, (classes, 1)), rng.uniform(0.5, 0.9, (classes, 1))
    widths = sorted(rng.choice(np.arange(2, 9), size=int(rng.integers(1, 4)), replace=False).tolist())
    alone = OperatingTables(
        classes=tables.classes,
        points=(OperatingPoint(threshold=None, budget=None),),
        tokens=full,
        accuracy=right,
        shed_tokens=tables.shed_tokens,
        longest=4000,
        medians=tables.medians,
    )
    races = OperatingTables(
        classes=tables.classes,
        points=tuple(OperatingPoint(threshold=None, budget=None, race=RaceRule(width=w, vote=True)) for w in widths),
        tokens=full * np.array(widths) * rng.uniform(0.4, 1.0, (classes, len(widths))),
        accuracy=np.clip(right + rng.uniform(-0.03, 0.1, (classes, len(widths))), 0.0, 1.0),
        longest=4000,
    )
    return alone.joined(tables).joined(races)


def random_plant(rng: np.random.Generator) -> Plant:
    return Plant(
        step_time=StepTime(a=float(rng.uniform(0.002, 0.03)), c=float(rng.uniform(1e-4, 2e-3))),
        max_batch=int(rng.integers(2, 33)),
        cv2=float(rng.uniform(0.1, 2.0)),
    )


def with_cut_offs(tables: OperatingTables, rng: np.random.Generator) -> OperatingTables:
    """The tables with some points, the first never, again at a cut-off: fewer tokens, and the answers as they come."""
    chosen = rng.choice(np.arange(1, len(tables.points)), size=int(rng.integers(1, 3)), replace=False).tolist()
    cut = tables.at(chosen)
    kept = rng.uniform(0.3, 0.9, cut.tokens.shape)
    points = (
        replace(point, give_up=None, skip=float(skip))
        for point, skip in zip(cut.points, rng.choice((0.99, 0.9, 0.6), size=len(chosen)), strict=True)
    )
    return tables.joined(
        replace(
            cut,
            points=tuple(points),
            tokens=kept * cut.tokens,
            accuracy=np.clip(cut.accuracy - rng.uniform(-0.02, 0.1, kept.shape), 0.0, 1.0),
            square=None if cut.square is None else kept * cut.square,
        )
    )
