"""How often a certificate was looked at: what is another look, and what none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments.calibration.looks import CertificateLook, looked, looks_of
from experiments.calibration.profile import Levels
from experiments.calibration.races.width import rules
from models.profile.profile import Profile
from models.score import Score
from tests.support.model_profile import PROFILE

LEVELS = Levels(epsilon=PROFILE.certificate.epsilon, delta=PROFILE.certificate.delta)
FIRST = CertificateLook(
    questions=tuple(f"question {number}" for number in range(PROFILE.certificate.count)),
    budgets=tuple(budget for budget in PROFILE.budgets if budget is not None),
    score=Score(PROFILE.score),
    levels=LEVELS,
)


def after(*looks: CertificateLook) -> Profile:
    """A profile whose certificate was looked at so."""
    profile, before = PROFILE, None
    for look in looks:
        profile = replace(PROFILE, provenance={"looked": looked(before, look)})
        before = profile
    return profile


@pytest.mark.parametrize(
    "changes",
    [
        {"questions": (*FIRST.questions, "one more")},
        {"questions": FIRST.questions[1:]},
        {"questions": (*FIRST.questions[1:], "another")},  # as many
        {"budgets": (7,)},
        {"score": next(score for score in Score if score != PROFILE.score)},
        {"levels": replace(LEVELS, epsilon=0.2)},
        {"levels": replace(LEVELS, delta=0.2)},
        {"races": rules(0.7, 0.0, (2, 3))},
    ],
)
def test_other_questions_budgets_scores_or_levels_are_another_look_and_going_back_is_none(
    changes: dict[str, Any],
) -> None:
    other = replace(FIRST, **changes)
    assert list(looks_of(after(FIRST, other)).values()) == [LEVELS.delta, other.levels.delta]
    assert looks_of(after(FIRST, other, FIRST, other)) == looks_of(after(FIRST, other))


def test_races_of_another_width_or_temperature_are_another_look() -> None:
    tried = [rules(0.7, 0.0, (2, 3)), rules(0.7, 0.0, (2, 3, 4)), rules(0.9, 0.0, (2, 3)), rules(0.7, 0.7, (2, 3))]
    assert len({replace(FIRST, races=races).key for races in ((), *tried)}) == 5


def test_the_order_of_questions_and_budgets_is_no_look() -> None:
    turned = replace(FIRST, questions=FIRST.questions[::-1], budgets=FIRST.budgets[::-1])
    assert len(looks_of(after(FIRST, turned))) == 1


def test_a_profile_of_an_earlier_release_counts_as_one_look() -> None:
    assert looks_of(PROFILE) == {}
    assert len(looked(PROFILE, FIRST)) == 1  # the same again, as far as the profile tells
    assert sum(looked(PROFILE, replace(FIRST, budgets=(7,))).values()) == pytest.approx(2 * LEVELS.delta)
