"""`python -m laser.server.intake.worker`: reads large bodies for a server, and ends with it.

It takes a frame with a pickled (model, bounds) and a frame with a body from stdin, and writes frames to stdout: the
request in pieces, or the error, each pickled, then an empty frame. When the server ends, stdin ends, and this process.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from laser.server.api.errors import ApiError, ServerFailure
from laser.server.intake.framing import HEAD, frame, pieces
from laser.server.intake.memory import give_back
from laser.server.intake.reading import read


def main() -> None:
    """Reads bodies until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the server, which drains first
    if hasattr(os, "nice"):
        os.nice(10)  # whoever sends large bodies waits, not those who get replies
    gc.disable()  # a body makes no cycles, and a collection would look at all of it
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints shall not disturb the frames
    with suppress(BrokenPipeError):
        while (task := _frame(source)) is not None and (body := _frame(source)) is not None:
            for piece in _answer(task, body):
                sink.write(frame(piece))
            sink.write(frame(b""))
            sink.flush()
            del body
            gc.collect()
            give_back()


def _answer(task: bytes, body: bytes) -> Iterator[bytes]:
    try:
        model, bounds = pickle.loads(task)
        made = list(pieces(read(body, model, bounds)))
    except ApiError as error:
        made = [pickle.dumps(error)]
    except Exception as error:  # MemoryError and what nobody thought of: the server answers, and goes on
        made = [pickle.dumps(ServerFailure(f"the body could not be read: {type(error).__name__}"))]
    yield from made


def _frame(source: BinaryIO) -> bytes | None:
    """Returns the next frame; None: there are no more."""
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    data = source.read(size)
    return data if len(data) == size else None


if __name__ == "__main__":
    main()
