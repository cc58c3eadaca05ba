"""benchmarks/waiting: in virtual time, most of what is told of waits is near the truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.waiting.retry_after import overloaded
from controller.policies.fixed import FixedThreshold
from experiments.simulation.recording import read_recording
from models.chat_model import load_chat_model
from models.profile.profile import FILE_NAME
from models.reasoner import bundled_model


@pytest.mark.slow
def test_retry_after_and_etas_are_near_the_truth() -> None:
    model = bundled_model()
    calibration = read_recording(load_chat_model(model), model, model / FILE_NAME, most=60)
    waits = overloaded(FixedThreshold(threshold=0.8), calibration, factor=5.0, seconds=20.0, seed=0)
    for said in (waits.refused, waits.queued):
        ratios = waits.ratios(said)
        assert ratios.size >= 20
        assert np.median(abs(ratios - 1.0)) <= 0.25
        assert np.mean((ratios >= 0.5) & (ratios <= 2.0)) >= 0.9
