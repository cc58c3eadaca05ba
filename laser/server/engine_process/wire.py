"""Frames between two processes: a length of four bytes, then a list of messages in msgpack."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from msgspec.msgpack import Decoder, Encoder

from laser.server.engine_process.messages import Command, EngineMessage, Event

T = TypeVar("T")

HEAD = struct.Struct("!I")
COMMANDS: Decoder[list[Command]] = Decoder(list[Command])
EVENTS: Decoder[list[Event]] = Decoder(list[Event])
_ENCODER = Encoder()


def packed(messages: Sequence[EngineMessage]) -> bytearray:
    """Returns messages as one frame."""
    frame = bytearray(HEAD.size)
    _ENCODER.encode_into(messages, frame, HEAD.size)
    HEAD.pack_into(frame, 0, len(frame) - HEAD.size)
    return frame


class Unpacker(Generic[T]):
    """Takes bytes as they come, and gives the messages of each frame that is whole."""

    def __init__(self, decoder: Decoder[list[T]]) -> None:
        self._decoder = decoder
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[list[T]]:
        """Yields the messages of each frame that `data` completes. Raises msgspec's errors for what is no message."""
        held, at = self._held, 0
        held += data
        while len(held) - at >= HEAD.size:
            (size,) = HEAD.unpack_from(held, at)
            end = at + HEAD.size + size
            if len(held) < end:
                break
            yield self._decoder.decode(bytes(held[at + HEAD.size : end]))
            at = end
        del held[:at]
