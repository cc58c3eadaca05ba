"""Opens an engine for a model directory: the engine asked for, or the best that this machine and model allow."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.base import CapacityError, Engine, EngineError, EngineUnavailableError
from engine.exllama.config import CacheType as CacheType  # options are named by the registry alone
from engine.exllama.config import ExLlamaConfig
from engine.torch.config import Runner as Runner

log = logging.getLogger(__name__)


class EngineKind(StrEnum):
    """Which engine decodes; naming one does not load torch."""

    AUTO = "auto"  # ExLlamaV2 if it can serve the model, else torch
    TORCH = "torch"  # any CPU
    EXLLAMA = "exllama"  # ExLlamaV2, on a CUDA GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The engine settings that a user may choose."""

    kind: EngineKind = EngineKind.AUTO
    runner: Runner = Runner.AUTO  # for the torch engine
    cells: int = 65_536  # KV cache, tokens
    max_batch: int = 32  # sequences decoded at once
    cache: CacheType = CacheType.FP16  # for the ExLlamaV2 engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An engine with its model loaded."""

    kind: EngineKind  # never auto
    engine: Engine
    vocabulary: int


def open_engine(directory: Path, settings: EngineSettings) -> Opened:
    """Load a model. Raises EngineError if it cannot be served with these settings."""
    kind = chosen(directory) if settings.kind is EngineKind.AUTO else settings.kind
    if kind is EngineKind.EXLLAMA:
        try:
            return _exllama(directory, settings)
        except EngineUnavailableError as error:  # ExLlamaV2's extension could not be built
            if settings.kind is EngineKind.EXLLAMA:
                raise
            log.warning("the engine is torch, not ExLlamaV2: %s", error)
    return _torch(directory, settings)


def chosen(directory: Path) -> EngineKind:
    """Returns EXLLAMA if ExLlamaV2 can serve the model on this machine, else TORCH; the log says why not."""
    from engine.exllama.load import check_machine, check_model

    try:
        check_machine()
        check_model(directory)
    except EngineError as error:
        log.info("the engine is torch, not ExLlamaV2: %s", error)
        return EngineKind.TORCH
    return EngineKind.EXLLAMA


def _exllama(directory: Path, settings: EngineSettings) -> Opened:
    from engine.exllama.load import load_exllama

    config = ExLlamaConfig(cells=settings.cells, max_batch=settings.max_batch, cache=settings.cache)
    loaded = load_exllama(directory, config)
    from engine.exllama.engine import ExLlamaEngine  # only now, since it imports exllamav2 and its extension

    return Opened(kind=EngineKind.EXLLAMA, engine=ExLlamaEngine(loaded, config), vocabulary=loaded.vocabulary)


def _torch(directory: Path, settings: EngineSettings) -> Opened:
    from engine.torch.engine import TorchEngine, TorchEngineConfig
    from engine.torch.load import load_model

    model = load_model(directory, settings.runner)
    try:
        engine = TorchEngine(model, TorchEngineConfig(cells=settings.cells, max_batch=settings.max_batch))
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when it cannot allocate
        raise CapacityError(f"cells is {settings.cells}, for which there is no memory: {error}") from error
    return Opened(kind=EngineKind.TORCH, engine=engine, vocabulary=model.shape.vocabulary)
