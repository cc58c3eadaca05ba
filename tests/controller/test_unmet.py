"""Goals that no point in use reaches are told with the goal, the best that is in use, and what it means."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from controller.planning.objective import ObjectiveSettings
from controller.policies.restricted import with_levers
from controller.selection import choose
from controller.settings import SettingsFile
from controller.unmet import unmet
from models.profile.lever import Lever
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import PROFILE, QUALITY
from tests.support.width_profile import racing_profile

BEST = QUALITY.accuracy.max(axis=1)  # by class
QUICKEST_S = PROFILE.tables().p95_steps.min(axis=1) / PROFILE.plant_model().rate(1)  # type: ignore[union-attr]


def test_goals_within_reach_are_not_told() -> None:
    reached = ObjectiveSettings(accuracy_floors=tuple(BEST.tolist()), slo_s=tuple((QUICKEST_S * 1.001).tolist()))
    assert unmet(PROFILE, reached) == unmet(PROFILE, ObjectiveSettings()) == ()


def test_a_floor_out_of_reach_is_told_with_what_is_served_instead() -> None:
    floors = BEST.copy()
    floors[1] = 1.0
    wishes = ObjectiveSettings(accuracy_floors=tuple(floors.tolist()))
    (told,) = unmet(PROFILE, wishes)
    name = PROFILE.classes[1]
    assert told.startswith(f"accuracy_floors is 1 for {name}, which no point in use reaches: the best is ")
    assert told.endswith(f", with {BEST[1]:.3f} on the profile's questions; it serves {name} but in an overload")
    for price in (0.0, 1e3):  # as selection has it
        chosen = choose(QUALITY, wishes.at(1.0), price=price, work_ratio=np.ones(len(BEST)))
        assert QUALITY.accuracy[1, chosen[1]] == BEST[1]


def test_an_slo_out_of_reach_is_told_with_the_quickest_point() -> None:
    wishes = ObjectiveSettings(slo_s=tuple((QUICKEST_S * (0.99, 1.01, 0.99)).tolist()))
    told = unmet(PROFILE, wishes)
    assert [line.split(" for ")[1].split(",")[0] for line in told] == [PROFILE.classes[0], PROFILE.classes[2]]
    assert f"95 % end within {QUICKEST_S[0]:.3g} s" in told[0]


def test_what_only_a_race_or_an_uncertified_point_reaches_is_told() -> None:
    racing = with_levers(racing_profile(), {Lever.WIDTH})
    alone, best = (tables.accuracy.max(axis=1) for tables in (racing.tables().alone(), racing.tables()))
    assert (best > alone).all()
    assert len(unmet(racing, ObjectiveSettings(accuracy_floors=tuple(best.tolist())))) == len(best)
    every = PROFILE.tables(certified_only=False)
    assert every.p95_steps is not None
    quickest_s = every.p95_steps.min(axis=1) / PROFILE.plant_model().rate(1)
    wishes = ObjectiveSettings(slo_s=tuple((quickest_s * 1.001).tolist()))
    assert len(unmet(PROFILE, wishes)) == len(CLASSES)
    assert unmet(PROFILE, wishes, certified_only=False) == ()


def test_settings_that_come_in_force_are_checked_whenever_they_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("inner_s: 0.4\n")
    with caplog.at_level(logging.WARNING):
        settings = SettingsFile(file, 3, lambda wishes: [f"floor {floor:g}" for floor in wishes.accuracy_floors])
        assert not caplog.records
        file.write_text("objective: {accuracy_floors: [1, 1, 0.9]}\n")
        assert settings.refresh()
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: floor {floor}" for floor in ("1", "1", "0.9")
    ]
