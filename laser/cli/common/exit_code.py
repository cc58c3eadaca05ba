"""The exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of every command."""

    DONE = 0  # the command did what it was asked; of `serve`: a signal ended it, after the drain or at its start
    # it could not, and one line on standard error says why; or a comparison or a search says no; or Ctrl-C ended it
    FAILED = 1
    USAGE = 2  # an option, an argument or a command is wrong; the message names it
    # Ctrl-C ended a command that can go on: `calibrate`, `experiment run`, `experiment tune`; 128 + 2
    INTERRUPTED = 130
    TERMINATED = 143  # a SIGTERM ended it, after it had removed its temporary files: 128 + 15
