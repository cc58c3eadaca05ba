"""The model that a command is given: a path, or a name whose files are fetched first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, overload

from laser.cli.common.messages import progress
from models.hub.name import ModelName, read_name

if TYPE_CHECKING:
    from experiments.progress import Advance, Reporter
    from models.hub.client import Hub

MIB = 1 << 20


@overload
def located(model: Path, reporter: Reporter | None = None) -> Path: ...
@overload
def located(model: Path | None, reporter: Reporter | None = None) -> Path | None: ...
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
    count = InMiB(found.size, found.size - found.missing)
    with reporter.stage("Fetching, MiB", count.total, done=count.done) as advance:
        count.advance = advance
        try:
            return fetch(found, hub, count, reporter.note).path
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            reporter.note("What has come is kept: the same command goes on from there")
            raise


class InMiB:
    """Tells bytes of `size` as whole MiB; the last of them is not whole."""

    def __init__(self, size: int, begun: int) -> None:
        """`begun`: bytes of an earlier run."""
        self._size, self._bytes = size, begun
        self.advance: Advance = lambda more, state="", /: None
        self.total = -(-size // MIB)

    @property
    def done(self) -> int:
        """The MiB that have come."""
        return self.total if self._bytes >= self._size else self._bytes // MIB

    def __call__(self, more: int) -> None:
        before = self.done
        self._bytes += more
        if self.done != before:
            self.advance(self.done - before)
