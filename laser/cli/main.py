"""The `laser` command: its subcommands are imported only when they are called."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from laser.cli.common.help_pages import EXAMPLE, THOUGHT, examples
from laser.version import VERSION
from models.foreign import hush

COMMANDS = {
    "serve": "Serve a model over HTTP, OpenAI-compatible.",
    "ask": "Ask a running server one question.",
    "top": "Show what a running server does, live in the terminal.",
    "demo": "See LASER work: a burst of requests on the bundled model.",
    "evaluate": "Measure how well a model answers, and what early exit costs and saves.",
    "calibrate": "Measure a model once: makes the profile that load-aware serving needs.",
    "analyze": "Work out what a profile means for serving: trade-offs, plans, capacity.",
    "replay": "Check that a log of decisions comes out the same again.",
    "simulate": "Try policies and loads without decoding, from a calibration.",
    "experiment": "Run a grid of workloads, policies and seeds, and report it.",
    "fit": "Tell what context and how many requests at once fit into memory.",
    "init": "Lay out example files: settings, keys, experiments.",
    "train": "Train the bundled model anew; you do not need this to use LASER.",
    "docs": "Find a setting, flag, metric or word in the reference, offline.",
    "quantize": "Put a model in fewer bits, for the ExLlamaV2 engine.",
    "models": "List the models on this machine, and what serves each.",
    "convert": "Write a model as a GGUF file, for the llama.cpp engine.",
}
"""Each command's name, which is its module in laser.cli but for those of `ROOMS`, and its line in `laser --help`."""
ROOMS = {"models": "models.listing", "convert": "models.convert", "fit": "models.fit"}
"""The modules in laser.cli of the commands that stand in a package of it."""


NO_ENGINE = frozenset({"-h", "--help", "--in-process"})
"""With any of these `laser serve` needs no process of the engine's.

What a configuration file says is read later: with `in_process: true` in it a process is started, and ended again.
"""


def _start_engine(ctx: click.Context) -> None:
    """Starts the engine's process while the command is still being imported; it ends with the context at the latest."""
    from laser.server.engine_process.child import POSSIBLE, spawned

    if POSSIBLE:
        ctx.obj = ctx.with_resource(spawned())


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Lets a SIGTERM in the block end it as an exception does, so that temporary files and folders are removed.

    A command may handle the signal by itself. Where another handler is in force already, it stays.
    """
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        if mine and signal.getsignal(signal.SIGTERM) is _end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is called, not before."""

    def main(self, args: Any = None, *arguments: Any, **named: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):  # what a terminal's encoding lacks is shown as an escape
            if getattr(stream, "errors", None) == "strict":
                getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
        with ending_in_order(), warnings.catch_warnings():
            hush()
            return super().main(args, *arguments, **named)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for argument in args:
            if any("\udc80" <= character <= "\udcff" for character in argument):
                shown = argument[:80].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                raise click.UsageError(f"an argument is not UTF-8: {shown}", ctx)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"laser.cli.{ROOMS.get(cmd_name, cmd_name)}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"laser.cli.{cmd_name}.command is {command!r}, must be a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no such command {args[0]!r}; there are {', '.join(COMMANDS)}", ctx)
        if args[:1] == ["serve"] and not NO_ENGINE.intersection(args) and not ctx.resilient_parsing:
            _start_engine(ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


FIRST_STEPS = examples(
    "laser demo                         see it work; nothing to set up",
    "laser serve                        the bundled model on port 8000",
    f"laser ask '{EXAMPLE}'",
    "                                   asks it, from another terminal; it knows puzzles like this one",
    "laser calibrate --model DIR        your own model: measures it once, makes its profile",
    "laser serve --model DIR            serves it",
    title="First steps:",
)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"laser {VERSION}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"LASER: load-aware serving with early exit for reasoning language models.\n\n{THOUGHT}",
    epilog=FIRST_STEPS,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """The `laser` command."""
