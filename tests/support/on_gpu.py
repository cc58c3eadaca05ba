"""Where the tests run that only a GPU can fail, and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.tiny_models import Oracle

ON_GPU = "LASER_GPU" in os.environ
"""On a GPU its own tests alone are run: where CUDA's stand-in is imported the real extension cannot be."""
WHERE = [pytest.param("gpu", marks=pytest.mark.gpu)] if ON_GPU else ["stand-in"]


def only_gpu(test: Callable[..., None]) -> Any:
    """Marks a test that has nothing to run on without a GPU."""
    return pytest.mark.gpu(pytest.mark.skipif(not ON_GPU, reason="LASER_GPU=1 runs it, on a CUDA GPU")(test))


class HalfPrecision(Oracle):
    """Forgives what half precision may decide either way: two tokens whose logits are this close."""

    TIE = 0.1
    LOG_PROB = 0.05
    FOUND_BY_CONTENT = True
