"""Commands that go on where they were say how, when a signal ends them."""

from __future__ import annotations

import signal

import click
import pytest
from click.testing import CliRunner

from laser.cli.calibrate import command as calibrate
from laser.cli.common.resuming import ResumableCommand
from laser.cli.experiment import run, tune


@pytest.mark.parametrize("command", [calibrate, run, tune], ids=lambda command: command.name)
def test_every_command_that_keeps_what_it_has_finished_says_how_to_go_on(command: click.Command) -> None:
    assert isinstance(command, ResumableCommand)


@click.group()
def laser() -> None:
    pass


@laser.command("work", cls=ResumableCommand)
@click.option("--questions")
@click.option("--end", type=int)
def work(questions: str, end: int | None) -> None:
    if end is None:
        raise KeyboardInterrupt
    raise SystemExit(end)


TOLD = "Stopped; what is finished is kept. To go on: laser work --questions 'my file.jsonl'"


def test_ctrl_c_and_sigterm_are_told_with_the_exact_line() -> None:
    stopped = CliRunner().invoke(laser, ["work", "--questions", "my file.jsonl"], prog_name="laser")
    assert (stopped.exit_code, stopped.stderr.strip()) == (128 + signal.SIGINT, TOLD)
    line = ["work", "--questions", "my file.jsonl", "--end", str(128 + signal.SIGTERM)]
    ended = CliRunner().invoke(laser, line, prog_name="python -m laser")
    assert ended.exit_code == 128 + signal.SIGTERM
    assert ended.stderr.strip() == TOLD.replace("laser work", "python -m laser work") + " --end 143"


def test_other_ends_are_left_alone() -> None:
    ended = CliRunner().invoke(laser, ["work", "--end", "3"])
    assert (ended.exit_code, ended.stderr) == (3, "")
