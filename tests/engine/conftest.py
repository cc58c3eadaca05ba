"""The engines that must keep the contract, each with the oracle that knows what its model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.base import Engine
from tests.tiny_models import VOCABULARY, Oracle, save_model


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUnderTest:
    """One engine on one model: how to open a fresh instance of given sizes, and what is true of its model."""

    open: Callable[[int, int, int], Engine]  # cells, max_batch, prefill_chunk
    oracle: Oracle
    vocabulary: int = VOCABULARY


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where a tiny random model of an architecture lies; each is made once."""
    made: dict[str, Path] = {}

    def find(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = save_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return find


@pytest.fixture(scope="session")
def oracle_of(model_directory: Callable[[str], Path]) -> Callable[[str], Oracle]:
    """The oracle of an architecture's tiny model; one for all engines, so that what it has worked out is kept."""
    made: dict[str, Oracle] = {}

    def find(architecture: str) -> Oracle:
        if architecture not in made:
            made[architecture] = Oracle(model_directory(architecture))
        return made[architecture]

    return find


ENGINES = [f"torch-{runner}-{model}" for model in ("qwen2", "qwen3", "llama") for runner in ("bare", "transformers")]


@pytest.fixture(scope="session", params=ENGINES)
def tested(
    request: pytest.FixtureRequest,
    model_directory: Callable[[str], Path],
    oracle_of: Callable[[str], Oracle],
) -> EngineUnderTest:
    """Every engine that decodes, on every shape of model: the whole contract holds for each."""
    _, runner, architecture = str(request.param).split("-")
    return torch_engine(runner, architecture, model_directory, oracle_of)


@pytest.fixture(scope="session")
def one(model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]) -> EngineUnderTest:
    """The default engine, for what does not depend on the model."""
    return torch_engine("bare", "qwen2", model_directory, oracle_of)


def torch_engine(
    runner: str, architecture: str, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> EngineUnderTest:
    from engine.load import load_model
    from engine.runner import Runner
    from engine.torch_engine import TorchEngine, TorchEngineConfig

    model = load_model(model_directory(architecture), Runner(runner))

    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        return TorchEngine(model, TorchEngineConfig(cells=cells, max_batch=max_batch, prefill_chunk=prefill_chunk))

    return EngineUnderTest(open=open_, oracle=oracle_of(architecture))
