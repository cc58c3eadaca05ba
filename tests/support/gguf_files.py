"""GGUF files written byte by byte, so that they may be wrong in any way."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALIGNMENT = 32
F32 = 0  # the number of a tensor's type
MODEL: Mapping[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 512,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
}
"""The metadata of a small model without a vocabulary."""


def text(said: str) -> bytes:
    return struct.pack("<Q", len(said.encode())) + said.encode()


def typed(value: Any, *, signed: bool = False) -> bytes:
    """A value with its type before it: a truth value, a whole number, a float, a text, or a list of one of these.

    Whole numbers of a list are signed, as llama.cpp wants those of a vocabulary.
    """
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<Ii", 5, value) if signed or value < 0 else struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case _:
            each = [typed(one, signed=True) for one in value]
            kind = each[0][:4] if each else struct.pack("<I", 4)
            return struct.pack("<I", 9) + kind + struct.pack("<Q", len(each)) + b"".join(one[4:] for one in each)


def header(
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (),
    *,
    version: int = 3,
) -> bytes:
    """A file up to its weights; each tensor has a name, its sizes, the number of its type and its offset."""
    said = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metadata))
    said += b"".join(text(key) + typed(value) for key, value in metadata.items())
    for name, sizes, kind, offset in tensors:
        said += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
    return said + bytes(-len(said) % ALIGNMENT)


def save(path: Path, metadata: Mapping[str, Any] = MODEL, sizes: Sequence[int] = (64, 128), **keys: Any) -> Path:
    """A file with one tensor of these sizes; `keys` are further metadata, with _ for the dots of a name."""
    values = 4
    for size in sizes:
        values *= size
    path.write_bytes(header({**metadata, **keys}, [("token_embd.weight", sizes, F32, 0)]) + bytes(values))
    return path
