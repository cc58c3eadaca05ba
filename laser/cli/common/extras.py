"""What a command needs beyond the plain install."""

from __future__ import annotations

from importlib.util import find_spec

import click

EXPERIMENTS = ("matplotlib", "optuna")


def needs(module: str) -> None:
    """Checks that a module of the extra `experiments` is there. Raises ClickException that says what to install."""
    assert module in EXPERIMENTS, f"{module} is in no extra"
    if find_spec(module) is None:
        raise click.ClickException(
            f"{module} is not installed, this needs it: pip install {module}, in a checkout "
            "pip install -c constraints.txt -e '.[experiments]'"
        )
