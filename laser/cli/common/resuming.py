"""Commands that keep what they have finished: ended by a signal, they say how to go on."""

from __future__ import annotations

import shlex
from typing import Any

import click

from laser.cli.common.exit_code import ExitCode

ARGUMENTS = "laser.arguments"  # in a context's meta: the command's arguments as they were given


class ResumableCommand(click.Command):
    """A command that goes on where it was when it is run again; Ctrl-C and SIGTERM end it with the line to type."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except SystemExit as end:
            if end.code not in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
                raise
            code = ExitCode(end.code)
        line = shlex.join([*ctx.command_path.split(), *ctx.meta[ARGUMENTS]])
        click.echo(f"\nStopped; what is finished is kept. To go on: {line}", err=True)
        raise SystemExit(code)
