"""Other people's code: what their loaders raise becomes one line of ours; what they log and warn of is kept back."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.errors import LaserError

LONGEST = 300  # characters of a foreign message

_PLAIN = (OSError, RuntimeError, ValueError)  # their messages tell enough without the error's name


@contextmanager
def told(what: str, error: type[Exception]) -> Iterator[None]:
    """Raises `error` for whatever the block raises: `what`, and the first LONGEST characters of the message.

    A LaserError passes as it is. transformers, if it is imported by then, logs nothing and draws no bars within the
    block. A panic of tokenizers' own code is no Exception; it is told like one.
    """
    try:
        with _silent_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LaserError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as problem:  # loaders raise whatever their authors and the files' contents make them
        raise error(f"{what}: {in_one_line(problem)}") from problem


@contextmanager
def _silent_transformers() -> Iterator[None]:
    if "transformers" not in sys.modules:  # its import takes long, and not all need it
        yield
        return
    from transformers.utils import logging as imported

    logging: Any = imported
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


_LIBRARIES = (
    "click", "cvxpy", "filterpy", "latex2sympy2_extended", "math_verify", "matplotlib", "numpy", "optuna", "scipy",
    "starlette", "sympy", "tokenizers", "torch", "transformers", "uvicorn",
)  # fmt: skip

_CALLERS = ("controller.planning", "experiments.trials.tuning")
"""Modules of ours that cvxpy and optuna give as the place of their own warnings. After an inaccurate solution, of which
cvxpy warns, the next solver is tried."""


def hush() -> None:
    """Hides what libraries warn of in the command line: whoever runs a command cannot act on it.

    Our own warnings stay, and all do where Python was told what to show (-W, PYTHONWARNINGS). Python itself hides
    warnings of deprecation.
    """
    if sys.warnoptions:
        return
    for category in (UserWarning, RuntimeWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
    for category in (UserWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=rf"({'|'.join(_CALLERS)})(\.|$)")


def in_one_line(problem: BaseException) -> str:
    """Returns the message of an error in one printable line of at most LONGEST characters."""
    try:
        said = " ".join(str(problem).split()).encode("utf-8", "backslashreplace").decode()
    except (RecursionError, ValueError):
        said = ""
    name = type(problem).__name__
    text = name if not said else said if isinstance(problem, _PLAIN) else f"{name}: {said}"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
