"""A profile with points at which thoughts race, as one might be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.profile.profile import Profile
from models.profile.width import RaceRule, WidthTables, width_tables
from tests.support.analysis_profile import CLASSES, made_profile

RULES = (RaceRule(width=2), RaceRule(width=3, vote=True), RaceRule(width=5, vote=True))
WON = (-0.01, 0.005, 0.04)


def widths(made: Profile, *, count: int = 6000, won: Sequence[float] = WON) -> WidthTables:
    """Races of RULES, each of which wins a share of the questions of every class, at w times the rows of one."""
    rng = np.random.default_rng(1)
    member = np.arange(count) % len(CLASSES) == np.arange(len(CLASSES))[:, None]
    alone = np.where(rng.random(count) < 0.8, 1.0, 0.0)
    right = np.stack([alone] * len(RULES), axis=1)
    wrong, ok = np.flatnonzero(alone == 0.0), np.flatnonzero(alone == 1.0)
    for k, share in enumerate(won):
        changed = (wrong if share > 0 else ok)[: round(abs(share) * count)]
        right[changed, k] = 1.0 if share > 0 else 0.0
    full = np.array(made.tokens)[member.argmax(axis=0), 0, 0]
    rows = full[:, None] * np.array([rule.width for rule in RULES])
    steps = tuple(tuple(row[0][0] for _ in RULES) for row in made.p95_steps)
    return width_tables(
        rules=RULES,
        member=member,
        rows=rows,
        right=right,
        alone=alone,
        steps=steps,
        harm=alone[:, None] * (1.0 - right),
        epsilon=made.certificate.epsilon,
        delta=made.certificate.delta,
    )


def racing_profile(**options: object) -> Profile:
    """A made profile with `widths`."""
    made = made_profile(certified_to=5)
    return replace(made, width=widths(made, **options))  # type: ignore[arg-type]
