"""Where the tests run that only a GPU can fail, and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.exllama.config import ExLlamaConfig, ProbeWay
from models.reasoner import bundled_model
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


@cache
def bundled_oracle() -> HalfPrecision:
    """One for all tests, so that what it has worked out is kept."""
    return HalfPrecision(bundled_model())


def open_on_gpu(directory: Path, config: ExLlamaConfig) -> Any:
    """A fresh ExLlamaEngine; models of the same sizes are loaded once, since an engine's page table is its own."""
    loaded = _load(directory, replace(config, way=ProbeWay.AUTO))
    from engine.exllama.engine import ExLlamaEngine  # only now: it imports exllamav2, which needs an attention

    return ExLlamaEngine(loaded, config)


@cache
def _load(directory: Path, config: ExLlamaConfig) -> Any:
    from engine.exllama.load import load_exllama

    return load_exllama(directory, config)
