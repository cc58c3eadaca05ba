"""Sizes of files in words."""

from __future__ import annotations

_UNITS = "EiB", "PiB", "TiB", "GiB", "MiB", "KiB"


def in_bytes(size: int) -> str:
    """Returns a number of bytes in three digits at most: 512 B, 94.1 MiB, 2.33 GiB."""
    for place, name in enumerate(_UNITS):
        unit = 1 << 10 * (len(_UNITS) - place)
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"
