"""A start that SIGINT or SIGTERM ends as it ends a running server: in order, and not as a failure."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from laser.cli.common.exit_code import ExitCode

log = logging.getLogger("laser.start")
of_tasks = logging.getLogger("asyncio")


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Ends the block with ExitCode.DONE at SIGINT or SIGTERM; gives a function that does so if one has come already.

    Call that function before the server says that it is ready: what a signal's handler raises is lost in Python's
    callbacks, of which every import has some. Beside the main thread nothing is changed.
    """
    came: list[int] = []

    def end_if_told() -> None:
        if came:
            raise SystemExit(ExitCode.DONE)

    def told(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        of_tasks.disabled = True  # until the process has ended: a task that is cut off by it has not failed
        end_if_told()

    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM) if ours}
    try:
        yield end_if_told
    except BaseException:  # a library may have made another error of the signal's
        if not came:
            raise
        log.info("%s has ended the server before it was ready", signal.Signals(came[0]).name)
        raise SystemExit(ExitCode.DONE) from None
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is told:
                signal.signal(number, handler)
