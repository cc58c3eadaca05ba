"""What the analysis is tried on."""

from __future__ import annotations

import pytest

from controller.planning.joint_program import Optimizer
from experiments.analysis.situation import Situation, situation
from tests.support.analysis_profile import PLAIN, made_profile, still


@pytest.fixture(scope="module")
def one() -> Situation:
    return situation(made_profile(), PLAIN, rates=[4.0, 9.0, 16.0])


@pytest.fixture(scope="module")
def program(one: Situation) -> Optimizer:
    return Optimizer(one.tables, one.objective, clock=still)
