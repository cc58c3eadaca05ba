"""Reads what stands before the weights of a GGUF file: metadata, and where each tensor lies.

A reader of our own: that of the package gguf takes seconds for a vocabulary, maps the tensors too, and raises whatever
a damaged file makes it raise. Here every count and length is bounded by the file's own size and by MOST_HEADER, and
whatever is wrong is a GGUFError. Layout: magic, version, number of tensors, number of keys, the keys with their values,
the tensors' descriptions, padding, the tensors.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from models.files.json_file import shown
from models.gguf.errors import GGUFError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_HEADER = 512 << 20  # bytes before the weights; the largest that are public have some 30 MB
MOST_KEYS = 1 << 16
MOST_TENSORS = 1 << 20
MOST_NAME = 1 << 16  # bytes of a key or a tensor's name
MOST_VALUES = 1 << 24  # of an array
MOST_DIMENSIONS = 4
ALIGNMENT = 32  # bytes, where general.alignment says nothing

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

Value = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Each type of tensor by its number: its name, the weights of a block, and the block's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTensor:
    """A tensor as the file describes it."""

    name: str
    type: str  # of TYPES
    shape: tuple[int, ...]  # fastest first, as ggml counts: a matrix has (inputs, outputs)
    offset: int  # of its first byte in the file
    bytes: int

    @property
    def values(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFHeader:
    """All of a GGUF file but its weights."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[DescribedTensor, ...]


def read_header(path: Path) -> GGUFHeader:
    """Returns what a GGUF file holds, without its weights.

    Raises GGUFError if the file cannot be read, is no GGUF file, is of another version or byte order, is damaged, or
    ends before its last tensor does.
    """
    try:
        with path.open("rb") as file:
            return _Reader(path, file, os.fstat(file.fileno()).st_size).header()
    except OSError as error:
        raise GGUFError(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(slots=True)
class _Reader:
    path: Path
    file: BinaryIO
    size: int  # of the file, bytes
    at: int = field(default=0, init=False)  # bytes read

    def header(self) -> GGUFHeader:
        """Reads the whole header, and checks that all tensors lie within the file."""
        tensors, keys = self._beginning()
        metadata: dict[str, Value] = {}
        for number in range(keys):
            key = self._text(f"the name of key {number}", MOST_NAME)
            if key in metadata:
                raise self._damaged(f"the key {shown(key)} stands there twice")
            metadata[key] = self._value(key)
        described = [self._described(number) for number in range(tensors)]
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self._damaged(f"general.alignment is {shown(alignment)}, must be a power of two")
        return GGUFHeader(path=self.path, metadata=metadata, tensors=self._placed(described, alignment))

    def _beginning(self) -> tuple[int, int]:
        """Reads up to the first key; returns the numbers of tensors and keys."""
        magic = self.file.read(len(MAGIC))
        self.at = len(magic)
        if magic != MAGIC:
            what = "is empty" if not magic else "is no GGUF file"
            raise GGUFError(f"{self.path}: {what}: it must begin with {MAGIC.decode()}")
        version, tensors, keys = self._numbers("the beginning", "IQQ")
        if version not in VERSIONS:
            if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
                raise GGUFError(f"{self.path}: is a big-endian GGUF file, only little-endian ones are read")
            read = " and ".join(map(str, VERSIONS))
            raise GGUFError(f"{self.path}: is a GGUF file of version {version}, versions {read} are read")
        for what, found, most in (("keys", keys, MOST_KEYS), ("tensors", tensors, MOST_TENSORS)):
            if found > most:
                raise self._damaged(f"it announces {found} {what}, at most {most} are read")
        return tensors, keys

    def _value(self, key: str) -> Value:
        (kind,) = self._numbers(key, "I")
        if kind in _NUMBERS:
            value: Value = self._numbers(key, _NUMBERS[kind])[0]
            return value
        if kind == _TEXT:
            return self._text(key)
        if kind != _ARRAY:
            raise self._damaged(f"the value of {shown(key)} is of type {kind}, which is unknown")
        inner, count = self._numbers(key, "IQ")
        if count > MOST_VALUES:
            raise self._damaged(f"{shown(key)} announces {count} values, at most {MOST_VALUES} are read")
        if inner in _NUMBERS:
            return self._numbers(key, f"{count}{_NUMBERS[inner]}")
        if inner != _TEXT:
            raise self._damaged(f"{shown(key)} is an array of type {inner}, must hold numbers or texts")
        self._check_room(key, 8 * count)  # each has a length
        return tuple([self._text(key) for _ in range(count)])

    def _described(self, number: int) -> tuple[str, tuple[int, ...], int, int]:
        """Reads a tensor's name, shape, type and offset behind the header."""
        name = self._text(f"the name of tensor {number}", MOST_NAME)
        (dimensions,) = self._numbers(name, "I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self._damaged(f"the tensor {shown(name)} has {dimensions} dimensions, must have 1…{MOST_DIMENSIONS}")
        *shape, kind, offset = self._numbers(name, f"{dimensions}QIQ")
        return name, tuple(shape), kind, offset

    def _placed(
        self, described: list[tuple[str, tuple[int, ...], int, int]], alignment: int
    ) -> tuple[DescribedTensor, ...]:
        """Returns the tensors with their places. Raises GGUFError if one lies outside the file or in another."""
        start = self.at + -self.at % alignment
        found: dict[str, DescribedTensor] = {}
        expected = 0
        for name, shape, kind, offset in described:
            if kind not in TYPES:
                raise GGUFError(f"{self.path}: the tensor {shown(name)} is of type {kind}, which is unknown here")
            stored, block, block_bytes = TYPES[kind]
            if shape[0] % block or 0 in shape:
                raise self._damaged(
                    f"the tensor {shown(name)} has {shape[0]} values a row, {stored} holds them by {block}"
                )
            if name in found:
                raise self._damaged(f"the tensor {shown(name)} stands there twice")
            size = math.prod(shape) // block * block_bytes
            if offset != expected:
                raise self._damaged(
                    f"the tensor {shown(name)} begins at byte {offset} of the weights, must begin at {expected}"
                )
            expected += size + -size % alignment
            place = start + offset
            if place + size > self.size:
                raise GGUFError(
                    f"{self.path}: is cut off: the tensor {shown(name)} ends at byte {place + size}, the file has "
                    f"{self.size}"
                )
            found[name] = DescribedTensor(name=name, type=stored, shape=shape, offset=place, bytes=size)
        return tuple(found.values())

    def _text(self, what: str, most: int = MOST_HEADER) -> str:
        (length,) = self._numbers(what, "Q")
        if length > most:
            raise self._damaged(f"{shown(what)} announces {length} bytes, at most {most} are read")
        try:
            return self._bytes(what, length).decode()
        except UnicodeDecodeError as error:
            raise self._damaged(f"{shown(what)} is not UTF-8: {error.reason}") from error

    def _numbers(self, what: str, form: str) -> tuple[int, ...]:
        """Reads numbers as `struct` writes their types."""
        form = f"<{form}"
        return struct.unpack(form, self._bytes(what, struct.calcsize(form)))

    def _bytes(self, what: str, count: int) -> bytes:
        self._check_room(what, count)
        read = self.file.read(count)
        if len(read) != count:  # it has shrunk since it was opened
            raise self._cut(what)
        self.at += count
        return read

    def _check_room(self, what: str, count: int) -> None:
        if self.at + count > self.size:
            raise self._cut(what)
        if self.at + count > MOST_HEADER:
            raise self._damaged(f"its head has more than {MOST_HEADER} bytes, the most that is read")

    def _cut(self, what: str) -> GGUFError:
        return GGUFError(f"{self.path}: is cut off or damaged: the file ends at byte {self.size}, within {shown(what)}")

    def _damaged(self, why: str) -> GGUFError:
        return GGUFError(f"{self.path}: is damaged: {why}")
