"""Sizes of files in words."""

from __future__ import annotations

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def in_bytes(size: int) -> str:
    """Returns a number of bytes in three digits at most: 512 B, 94.1 MiB, 2.33 GiB."""
    for unit, name in _UNITS:
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"
