"""How large a model is, as its files tell."""

from __future__ import annotations

import json
import math
from pathlib import Path

from benchmarks.reasoner.figures import ReasonerFigure
from models.profile.profile import FILE_NAME

CARD = "README.md"
MEGABYTE = 1e6


def model_files(directory: Path) -> list[Path]:
    """Returns the files that make up a model: those of its directory but profile, records of the profile and card."""
    return [
        file
        for file in sorted(directory.iterdir())
        if file.is_file() and not file.name.startswith((FILE_NAME, ".")) and file.name != CARD
    ]


def sizes(directory: Path) -> dict[str, ReasonerFigure]:
    """Returns a model's parameters, megabytes and head dimension, by the aim's name."""
    from safetensors import safe_open

    count = 0
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return {
        "parameters": ReasonerFigure(value=count),
        "weights": ReasonerFigure(value=sum(file.stat().st_size for file in model_files(directory)) / MEGABYTE),
        "head": ReasonerFigure(value=config["head_dim"]),
    }
