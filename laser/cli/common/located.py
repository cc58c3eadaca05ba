"""The model that a command is given: a path, or a name whose files are fetched first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from laser.cli.common.messages import progress
from models.hub.name import ModelName, read_name

if TYPE_CHECKING:
    from experiments.progress import Advance, Reporter
    from models.hub.client import Hub

MIB = 1 << 20


def located(model: Path | None, reporter: Reporter | None = None) -> Path | None:
    """Returns the path of a model: a path that exists as it is, or of a name's files, which are fetched if need be.

    `model` None: the bundled one, for which None is returned. `reporter` None: standard error is told. Raises HubError
    for what is neither, or cannot be fetched.
    """
    if model is None or os.path.lexists(model):
        return model
    from models.hub.client import Hub
    from models.hub.locating import no_model

    hub = Hub()
    name = read_name(model.as_posix())
    if name is None:
        raise no_model(model, hub)
    return _fetched(name, hub, progress() if reporter is None else reporter)


def _fetched(name: ModelName, hub: Hub, reporter: Reporter) -> Path:
    from models.hub.locating import fetch, locate

    found = locate(name, hub, reporter.note)
    if found.directory is not None:
        return found.path
    total, left = found.size // MIB, found.missing // MIB
    with reporter.stage("Fetching, MiB", total, done=total - left) as advance:
        return fetch(found, hub, InMiB(advance), reporter.note).path


class InMiB:
    """Tells bytes as whole MiB."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._bytes = 0

    def __call__(self, more: int) -> None:
        before = self._bytes // MIB
        self._bytes += more
        if self._bytes // MIB != before:
            self._advance(self._bytes // MIB - before)
