"""A model's profile made by hand."""

from __future__ import annotations

import numpy as np

from models.profile.certificate import certify
from models.profile.difficulty import FEATURES, Difficulty
from models.profile.identity import ModelIdentity
from models.profile.plant import StepTime
from models.profile.profile import MeasuredPlant, ProbeCost, Profile

MODEL = ModelIdentity(name="tiny", weights_sha256="ab" * 32, thinking_sha256="cd" * 32)


def table(low: float, high: float) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """[2 classes, 3 thresholds, 2 budgets], rising."""
    return tuple(tuple(map(tuple, rows)) for rows in np.linspace(low, high, 12).reshape(2, 3, 2).tolist())


PROFILE = Profile(
    model=MODEL,
    score="geometric_mean",
    max_tokens=640,
    classes=("easy", "hard"),
    counts=(60, 40),
    thresholds=(None, 0.95, 0.8),
    budgets=(None, 120),
    tokens=table(100.0, 250.5),
    square=table(20_000.0, 90_000.0),
    accuracy=table(0.25, 1.0),
    p95_steps=table(150.0, 320.0),
    certificate=certify([[0, 30], [0, 30], [1, 31]], 100, epsilon=0.1, delta=0.05),
    plant=MeasuredPlant(step_time=StepTime(a=1e-3, c=1e-4, g=1e-7), error=0.05, max_batch=32, context=150.0),
    probe=ProbeCost(rows=7.5, seconds=8e-4),
    difficulty=Difficulty(weights=tuple(0.1 * i for i in range(2 * FEATURES + 2)), bounds=(4.0, 5.0)),
    confusion=((40, 10), (20, 30)),
    explained=0.5,
    provenance={"laser": "0", "options": {"count": 50, "files": ["q.jsonl"], "out": None}},
)
