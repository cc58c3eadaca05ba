"""What is wanted, where it depends on how long a model's replies take."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from controller.planning.objective import Objective, ObjectiveSettings


def test_what_is_not_said_is_in_proportion_to_a_reply() -> None:
    quick, slow = ObjectiveSettings().at(0.5), ObjectiveSettings().at(50.0)
    assert quick.latency_weight == pytest.approx(100.0 * slow.latency_weight)
    assert quick.threshold_rate == pytest.approx(100.0 * slow.threshold_rate)
    assert slow.latency_weight * 50.0 == pytest.approx(0.025)
    assert slow.threshold_rate * 50.0 == pytest.approx(0.6)


def test_what_is_said_stays() -> None:
    wishes = ObjectiveSettings(latency_weight=0.0, threshold_rate=0.2, slo_s=(1.0, 2.0), shed_penalty=3.0)
    objective = wishes.at(10.0)
    assert isinstance(objective, Objective)
    assert asdict(objective) == asdict(wishes)


@pytest.mark.parametrize("name", ["latency_weight", "threshold_rate"])
def test_what_can_not_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -0.1, must be finite and at least 0"):
        ObjectiveSettings(**{name: -0.1})
