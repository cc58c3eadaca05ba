"""The mechanism: decodes, probes, forks and stops sequences; the caller decides when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.faces import lazy

if TYPE_CHECKING:
    from engine.base import Capabilities as Capabilities
    from engine.base import Engine as Engine
    from engine.base import EngineError as EngineError
    from engine.base import Finished as Finished
    from engine.base import Probed as Probed
    from engine.base import ProbeSpec as ProbeSpec
    from engine.base import Request as Request
    from engine.base import Sampling as Sampling
    from engine.base import Tokens as Tokens
    from engine.registry import engine_options as engine_options
    from engine.registry import open_engine as open_engine

__getattr__, __all__ = lazy(
    __name__,
    {
        "Capabilities": "engine.base",
        "Engine": "engine.base",
        "EngineError": "engine.base",
        "Finished": "engine.base",
        "ProbeSpec": "engine.base",
        "Probed": "engine.base",
        "Request": "engine.base",
        "Sampling": "engine.base",
        "Tokens": "engine.base",
        "engine_options": "engine.registry",
        "open_engine": "engine.registry",
    },
)
