"""Models for the server's tests, and servers that most of them share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.policies.fixed import FixedThreshold
from laser.server.config import ServeConfig
from tests.support.live_server import (
    ENDLESS_CELLS,
    LiveServer,
    running,
    save_confident_model,
    save_endless_model,
    save_random_model,
)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("random-model"))


@pytest.fixture(scope="session")
def model(random_model: Path) -> Path:
    """The bundled model; where it has not been trained yet, a random one."""
    from models.reasoner import bundled_model

    try:
        return bundled_model()
    except FileNotFoundError:
        return random_model


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[LiveServer]:
    """The bundled model's server."""
    with running(ServeConfig(model=model, name="little", policy=FixedThreshold())) as live:
        yield live


@pytest.fixture(scope="session")
def confident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server of a model whose every probability is known: it would think for ever, but is sure of its answer."""
    directory = save_confident_model(tmp_path_factory.mktemp("confident-model"))
    with running(ServeConfig(model=directory, name="confident")) as live:
        yield live


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_endless_model(tmp_path_factory.mktemp("endless-model"))


@pytest.fixture(scope="session")
def narrow(endless_model: Path) -> Iterator[LiveServer]:
    """A server that decodes one sequence at a time, with thoughts that nothing but a request ends; it pings often."""
    config = ServeConfig(
        model=endless_model,
        name="narrow",
        max_batch=1,
        cells=ENDLESS_CELLS,
        early_exit=False,
        loop_detection=False,
    )
    with running(config, ping_s=0.05) as live:
        yield live
