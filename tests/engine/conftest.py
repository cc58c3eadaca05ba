"""The engines that must keep the contract, each with the oracle that knows what its model says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.reasoner import bundled_model
from tests.support.engines import EngineUnderTest, engine_under_test
from tests.support.given_gguf import GIVEN, VARIABLE, given, save_widened
from tests.support.on_gpu import ON_GPU
from tests.support.tiny_models import Oracle, save_model

BUNDLED = "bundled"


def copied(folder: Path) -> Path:
    """The bundled model's configuration and weights in `folder`; without its end token, before which an oracle ends."""
    said = json.loads((bundled_model() / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**said, "eos_token_id": None}), "utf-8")
    shutil.copy(bundled_model() / "model.safetensors", folder)
    return folder


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where a tiny random model of an architecture lies, the bundled one, or the given one; each is made once."""
    made: dict[str, Path] = {}

    def make(folder: Path, architecture: str) -> Path:
        source = given() if architecture == GIVEN else None
        if source is not None:
            return save_widened(folder / "float32.gguf", source).parent
        return copied(folder) if architecture == BUNDLED else save_model(folder, architecture)

    def find(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = make(tmp_path_factory.mktemp(architecture), architecture)
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


TORCH = [f"torch-{runner}-{model}" for model in ("qwen2", "qwen3", "llama") for runner in ("bare", "transformers")]
LLAMA = [
    f"llamacpp-{model}" for model in ("qwen3", "qwen3-apart", "gemma3", "lfm2")
]  # full attention, a window, a hybrid
UNNAMED = pytest.mark.skipif(given() is None, reason=f"{VARIABLE} names no GGUF file of a real model")
WHOLE = [  # trained models, as GGUF files
    pytest.param(f"llamacpp-{BUNDLED}", marks=pytest.mark.slow),
    pytest.param(f"llamacpp-{GIVEN}", marks=[pytest.mark.slow, UNNAMED]),
]
EXLLAMA = [f"exllama-{way}" for way in ("auto", "stock", "batched", "riding")]
GPU = [pytest.param(f"gpu-{way}", marks=pytest.mark.gpu) for way in ("auto", "stock", "batched", "riding")]
SIMULATED = "simulated"


@pytest.fixture(scope="session", params=GPU if ON_GPU else [*TORCH, *LLAMA, *WHOLE, *EXLLAMA, SIMULATED])
def tested(
    request: pytest.FixtureRequest,
    model_directory: Callable[[str], Path],
    oracle_of: Callable[[str], Oracle],
) -> EngineUnderTest:
    """Every engine that decodes, on every shape of model: the whole contract holds for each."""
    return engine_under_test(str(request.param), model_directory, oracle_of)


EACH = ["torch-bare-qwen2", "torch-transformers-llama", *LLAMA, *WHOLE, "exllama-auto", "exllama-riding"]


@pytest.fixture(scope="session", params=GPU if ON_GPU else EACH)
def sampled(
    request: pytest.FixtureRequest, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> EngineUnderTest:
    """Each engine that computes logits, on models that differ in what a cache keeps: what is made of the logits."""
    return engine_under_test(str(request.param), model_directory, oracle_of)


@pytest.fixture(scope="session", params=["torch-bare-qwen2", "llamacpp-qwen3", "exllama-auto", SIMULATED])
def one(
    request: pytest.FixtureRequest, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> EngineUnderTest:
    """Each engine once, for what does not depend on the model."""
    return engine_under_test(str(request.param), model_directory, oracle_of)


@pytest.fixture(scope="session")
def exact(model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]) -> EngineUnderTest:
    """The engine whose cells and prefill chunks are single tokens, for what is counted in tokens."""
    return engine_under_test("torch-bare-qwen2", model_directory, oracle_of)
