"""Shows the view in a terminal until q, Ctrl-C or a signal, and then restores the terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.live import Live

from laser.cli.terminal.feed import Look
from laser.cli.terminal.frame import Frame

ENDS = ("SIGINT", "SIGTERM", "SIGHUP")  # names of signals: not every system has all of them


async def show(looks: AsyncIterator[Look], console: Console, url: str, note: Callable[[], str] = str) -> None:
    """Shows looks at a server until `looks` ends or the user quits. `note` returns a text for the first line.

    An exception of the first look is raised before anything is shown.
    """
    last = await anext(looks)
    stop = asyncio.Event()
    explained = False

    def frame(look: Look) -> Frame:
        return Frame(look=look, url=url, note=note(), keys="q: quit  h: what it means", explained=explained)

    def typed(text: str) -> None:
        nonlocal explained
        if "q" in text.lower():
            stop.set()
        if "h" in text.lower():
            explained = not explained
            live.update(frame(last), refresh=True)

    with _signals(stop.set), _typed(typed):
        with Live(frame(last), console=console, screen=True, auto_refresh=False) as live:

            async def follow() -> None:
                nonlocal last
                async for last in looks:
                    live.update(frame(last), refresh=True)

            live.refresh()
            following, stopping = asyncio.create_task(follow()), asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (following, stopping):
                    task.cancel()
                await asyncio.gather(following, stopping, return_exceptions=True)
        if not following.cancelled():
            following.result()  # raises the task's exception, if the task failed


@contextmanager
def _signals(ended: Callable[[], None]) -> Iterator[None]:
    """Within the block, signals that would end the process call `ended` instead."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for name in ENDS:
            number = getattr(signal, name, None)
            if number is not None:
                try:
                    loop.add_signal_handler(number, ended)
                except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt there
                    continue
                stack.callback(loop.remove_signal_handler, number)
        yield


@contextmanager
def _typed(take: Callable[[str], None]) -> Iterator[None]:
    """Within the block, passes typed text to `take` at once, without echo; no effect if stdin is no POSIX terminal."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        typed = os.read(terminal, 1024)
        if typed:
            take(typed.decode(errors="replace"))
        else:
            loop.remove_reader(terminal)  # end of file: the terminal has gone

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
