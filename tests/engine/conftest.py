"""The engines that must keep the contract, each with the oracle that knows what its model says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.base import Engine, ProbeSpec
from experiments.machine import Machine, VirtualClock
from experiments.simulated_model import Course, Trial
from experiments.simulator import SimulatedEngine
from models.latency import StepTime
from tests.tiny_models import VOCABULARY, Oracle, save_model


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUnderTest:
    """One engine on one model: how to open a fresh instance of given sizes, and what is true of its model."""

    open: Callable[[int, int, int], Engine]  # cells, max_batch, prefill_chunk
    oracle: Oracle
    vocabulary: int = VOCABULARY
    draws: bool = True  # whether it samples at temperatures above 0

    def must_draw(self) -> None:
        """Skip a test of sampling where there is none."""
        if not self.draws:
            pytest.skip("a simulated model says one thing only")


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
SIMULATED = "simulated"


@pytest.fixture(scope="session", params=[*ENGINES, SIMULATED])
def tested(
    request: pytest.FixtureRequest,
    model_directory: Callable[[str], Path],
    oracle_of: Callable[[str], Oracle],
) -> EngineUnderTest:
    """Every engine that decodes, on every shape of model: the whole contract holds for each."""
    if request.param == SIMULATED:
        return simulated_engine(oracle_of("qwen2"))
    _, runner, architecture = str(request.param).split("-")
    return torch_engine(runner, architecture, model_directory, oracle_of)


@pytest.fixture(scope="session", params=["torch", SIMULATED])
def one(
    request: pytest.FixtureRequest,
    model_directory: Callable[[str], Path],
    oracle_of: Callable[[str], Oracle],
) -> EngineUnderTest:
    """The default engine and the simulator, for what does not depend on the model."""
    if request.param == SIMULATED:
        return simulated_engine(oracle_of("qwen2"))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleModel:
    """A simulated model that says what the oracle says, looked at after every token."""

    oracle: Oracle
    max_tokens: int = 512
    vocabulary: int = VOCABULARY

    def follow(
        self, prompt: tuple[int, ...], said: Sequence[int], *, stops: frozenset[int], armed: bool, most: int
    ) -> Course:
        if most == 0:
            return Course(tokens=())
        tokens = self.oracle.generate(
            (*prompt, *said),
            most,
            stops=stops if armed else frozenset(),
            barred=frozenset() if armed else stops,
        )
        return Course(tokens=tuple(tokens), looks=tuple(range(1, most + 1)), until_armed=not armed)

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> Trial:
        context = (*prompt, *said, *spec.suffix)
        answer = self.oracle.generate(context, spec.max_answer_tokens, stops=spec.answer_stops)
        terminator = answer[-1] if answer[-1] in spec.answer_stops else None
        if terminator is not None:
            answer = answer[:-1]
        return Trial(
            answer=tuple(answer),
            log_probs=tuple(self.oracle.log_probs(context, answer).tolist()),
            terminator=terminator,
        )


def simulated_engine(oracle: Oracle) -> EngineUnderTest:
    def open_(cells: int, max_batch: int, prefill_chunk: int) -> Engine:
        machine = Machine(
            step_time=StepTime(a=0.01, c=0.001, g=1e-6),
            max_batch=max_batch,
            cells=cells,
            prefill_chunk=prefill_chunk,
        )
        return SimulatedEngine(OracleModel(oracle=oracle), machine, VirtualClock())

    return EngineUnderTest(open=open_, oracle=oracle, draws=False)
