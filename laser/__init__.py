"""LASER: load-aware serving with early exit for reasoning LLMs at the edge.

This package is the application: command line, HTTP server and client. It is installed beside four packages with plain
names, `models`, `engine`, `controller` and `experiments`. A module of the same name that comes first on Python's path
would be imported in their place, so importing `laser` refuses that with an ImportError that names both.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

_SIBLINGS = ("models", "engine", "controller", "experiments")


def _refuse_collisions(root: Path) -> None:
    """Raises ImportError if a sibling package would not be imported from `root`, the folder that holds this package."""
    for name in _SIBLINGS:
        try:
            spec = importlib.util.find_spec(name)
        except ValueError as error:  # somebody put a module without a spec into sys.modules
            raise ImportError(f"LASER's package {name!r} cannot be found: {error}", name=name) from error
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != root / name / "__init__.py":
            raise ImportError(
                f"LASER's package {name!r} lies in {root}, but Python finds {found or 'nothing'} under that name: "
                "start Python in another folder, or rename yours",
                name=name,
            )


_refuse_collisions(Path(__file__).resolve().parent.parent)

from laser.version import VERSION  # noqa: E402 (only now are the siblings known to be ours)
from models.faces import lazy  # noqa: E402

if TYPE_CHECKING:
    from laser.client import ask as ask
    from laser.server.app import create_app as create_app
    from laser.server.config import ServeConfig as ServeConfig
    from laser.server.config import load_config as load_config
    from laser.server.deployment import deploy as deploy
    from laser.server.intake.listener import listen as listen
    from laser.server.run import run as run
    from laser.server.service import Service as Service

__version__ = VERSION

__getattr__, __all__ = lazy(
    __name__,
    {
        "ServeConfig": "laser.server.config",
        "Service": "laser.server.service",
        "ask": "laser.client",
        "create_app": "laser.server.app",
        "deploy": "laser.server.deployment",
        "listen": "laser.server.intake.listener",
        "load_config": "laser.server.config",
        "run": "laser.server.run",
    },
)
