"""A model directory made ready to serve: tokenizer, thinking format, engine and loop, and the model's own defaults."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.loop import ServingLoop
from controller.policies import FixedPolicy, Limits
from engine.base import CapacityError, CorruptModelError, Engine, Sampling
from laser.config import ServeConfig
from models.thinking import ThinkingTokens, read_format
from models.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from engine.packed import PackedModel

BUNDLED_NAME = "laser-reasoner"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """What the model's `generation_config.json` says for requests that do not say: greedy unless it samples."""

    sampling: Sampling = Sampling()
    stop_tokens: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A loaded model."""

    model_id: str
    tokenizer: ChatTokenizer
    thinking: ThinkingTokens
    engine: Engine
    loop: ServingLoop
    defaults: GenerationDefaults
    default_max_tokens: int


def deploy(config: ServeConfig) -> Deployment:
    """Load what a configuration names.

    Raises FileNotFoundError without a bundled model, EngineError, TokenizerError or ConfigError where the directory
    cannot be served; each message is one line that names the file.
    """
    import torch

    from engine.load import load_model
    from models.reasoner import bundled_model

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    directory = config.model if config.model is not None else bundled_model()
    own_name = directory.resolve().name if config.model is not None else BUNDLED_NAME
    if not directory.is_dir():
        raise CorruptModelError(f"{directory}: is not a directory")
    model = load_model(directory, config.runner)
    tokenizer = ChatTokenizer(directory)
    thinking = ThinkingTokens(read_format(directory, config.thinking), tokenizer)
    defaults = read_generation_defaults(directory)
    engine = _engine(model, config)
    limits = Limits(threshold=config.threshold if config.early_exit else None, budget=config.budget)
    loop = ServingLoop(
        engine=engine,
        tokenizer=tokenizer,
        thinking=thinking,
        policy=FixedPolicy(limits),
        stop_tokens=tokenizer.eos_ids | defaults.stop_tokens,
        clock=time.monotonic,
    )
    shortest = len(tokenizer.render([{"role": "user", "content": "?"}], enable_thinking=True))  # is there a template?
    if loop.room <= shortest:
        least = engine.max_tokens - loop.room + shortest + 1
        raise CapacityError(f"a sequence may have {engine.max_tokens} tokens here, needs at least {least}: see cells")
    return Deployment(
        model_id=config.name or own_name,
        tokenizer=tokenizer,
        thinking=thinking,
        engine=engine,
        loop=loop,
        defaults=defaults,
        default_max_tokens=config.default_max_tokens,
    )


def _engine(model: PackedModel, config: ServeConfig) -> Engine:
    from engine.torch_engine import TorchEngine, TorchEngineConfig

    try:
        return TorchEngine(model, TorchEngineConfig(cells=config.cells, max_batch=config.max_batch))
    except (MemoryError, RuntimeError) as error:  # torch raises the latter when it cannot allocate
        raise CapacityError(f"cells is {config.cells}, for which there is no memory: {error}") from error


def read_generation_defaults(directory: Path) -> GenerationDefaults:
    """The defaults beside a model; without the file greedy decoding. Raises CorruptModelError if it is damaged."""
    path = directory / "generation_config.json"
    if not path.is_file():
        return GenerationDefaults()
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        eos = said.get("eos_token_id")
        stops = [] if eos is None else eos if isinstance(eos, list) else [eos]
        sampling = Sampling()
        if said.get("do_sample"):
            sampling = Sampling(
                temperature=float(_else(said.get("temperature"), 1.0)),
                top_k=int(_else(said.get("top_k"), 0)),
                top_p=float(_else(said.get("top_p"), 1.0)),
            )
        return GenerationDefaults(sampling=sampling, stop_tokens=frozenset(int(each) for each in stops))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorruptModelError(f"{path}: cannot be used: {error}") from error


def _else(value: Any, default: float) -> Any:
    return default if value is None else value
