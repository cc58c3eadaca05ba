"""The bundled model as a GGUF file."""

from __future__ import annotations

from pathlib import Path


def bundled_gguf(folder: Path) -> Path:
    """Writes the bundled model into `folder` as a GGUF file of half precision, and returns the file."""
    from engine.gguf.convert import StoredType, convert
    from models.reasoner import bundled_model

    file = folder / "laser-reasoner.gguf"
    for _ in convert(bundled_model(), file, StoredType.F16):
        pass
    return file
