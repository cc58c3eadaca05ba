"""How the server and its reading process talk: frames of bytes, each behind its length; objects that come in pieces.

An object with long lists is unpickled piece by piece, so that the event loop is held by no piece for long.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

HEAD = struct.Struct(">I")  # the length of a frame
PIECE = 512  # entries of a list in one piece


def frame(data: bytes) -> bytes:
    """Returns a frame."""
    return HEAD.pack(len(data)) + data


def pieces(asked: BaseModel) -> Iterator[bytes]:
    """Yields a request as pickles: the request without its long tuples, then these in pieces, each with its field."""
    long = {name: value for name, value in asked.__dict__.items() if isinstance(value, tuple) and len(value) > PIECE}
    yield pickle.dumps(asked.model_copy(update=dict.fromkeys(long, ())))
    for name, value in long.items():
        for start in range(0, len(value), PIECE):
            yield pickle.dumps((name, value[start : start + PIECE]))


class Assembly:
    """Puts a request together again from its pieces."""

    def __init__(self, first: bytes) -> None:
        self._asked: Any = pickle.loads(first)
        self._long: dict[str, list[Any]] = {}

    def add(self, piece: bytes) -> None:
        """Takes the next piece."""
        name, part = pickle.loads(piece)
        self._long.setdefault(name, []).extend(part)

    def whole(self) -> Any:
        """Returns the request, once all pieces have come."""
        update = {name: tuple(value) for name, value in self._long.items()}
        return self._asked.model_copy(update=update) if update else self._asked
