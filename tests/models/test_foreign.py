"""What libraries warn of is hidden in the command line; our own warnings and what the user asked for stay."""

from __future__ import annotations

import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from laser.cli.main import LazyGroup
from models.foreign import hush

SHOWN = {
    ("controller.controller", UserWarning, "ours"): True,
    ("experiments.statistics", RuntimeWarning, "divide by zero"): True,
    ("torchless.own", UserWarning, "a user's own policy"): True,
    ("torch", UserWarning, "a library's"): False,
    ("scipy.stats._stats", RuntimeWarning, "precision loss"): False,
    ("transformers.generation.utils", FutureWarning, "will go"): False,
    ("matplotlib.font_manager", UserWarning, "no font"): False,
    ("controller.planning.solving", RuntimeWarning, "ours, a division"): True,
    ("controller.planning.solving", UserWarning, "Solution may be inaccurate. Try another solver"): False,
}


def warn_all() -> None:
    for module, category, message in SHOWN:
        warnings.warn_explicit(message, category, filename="x.py", lineno=1, module=module)


def test_only_what_a_user_can_act_on_is_shown() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        hush()
        warn_all()
    assert [str(one.message) for one in seen] == [message for (_, _, message), shown in SHOWN.items() if shown]


def test_who_asks_python_for_warnings_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        hush()
        warn_all()
    assert len(seen) == len(SHOWN)


def test_every_command_hides_them_and_changes_nothing_for_its_caller() -> None:
    class Noisy(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command(cmd_name, callback=warn_all)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert CliRunner().invoke(Noisy("laser"), ["serve"]).exit_code == 0
        assert list(warnings.filters) == before
    assert len(seen) == sum(SHOWN.values())
