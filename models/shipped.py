"""The files that LASER brings along besides its code: those of `configs/`, in a checkout and in the installed wheel."""

from __future__ import annotations

from pathlib import Path

from models.errors import LaserError

ROOT = Path(__file__).parents[1]  # of the checkout, or site-packages
# in the wheel, where pyproject.toml puts the files; in a checkout
PLACES = (ROOT / "laser" / "configs", ROOT / "configs")


class IncompleteInstall(LaserError):
    """Files that come with LASER are missing beside its code."""


def shipped_configs() -> Path:
    """Returns the folder that holds serve.yaml, controller.yaml, keys.yaml, models/ and experiments/.

    Raises IncompleteInstall if it is missing.
    """
    for place in PLACES:
        if (place / "serve.yaml").is_file():
            return place
    raise IncompleteInstall(f"LASER's files of configs/ are missing: neither {PLACES[0]} nor {PLACES[1]} holds them")
