"""A solver on a thread of its own: the engine's thread sends requests and polls for answers, and never waits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from controller.planning.plan import Plan, SolveRequest

log = logging.getLogger(__name__)


class SolverThread:
    """A `controller.planning.plan.Solver`. A new request replaces one that still waits to be solved."""

    def __init__(self, solve: Callable[[SolveRequest], Plan]) -> None:
        self._solve = solve
        self._waiting: deque[SolveRequest] = deque(maxlen=1)
        self._answers: deque[Plan | Exception] = deque(maxlen=1)
        self._work = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, which ends with the process, or earlier through `stop`."""
        self._thread = threading.Thread(target=self._run, name="solver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Makes the thread end after its present solve. Does not wait for the thread, which may be frozen."""
        self._closing = True
        self._work.set()

    def ask(self, request: SolveRequest) -> None:
        if self._thread is None:
            self.start()
        self._waiting.append(request)  # replaces one that still waits
        self._work.set()

    def answer(self) -> Plan | Exception | None:
        return self._answers.popleft() if self._answers else None

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            if self._closing:
                return
            if not self._waiting:
                continue
            try:
                self._answers.append(self._solve(self._waiting.popleft()))
            except BaseException as error:  # a panic of a solver's library, too: the next request may be solved
                said = f"{type(error).__name__}: {error}"
                log.warning("the solver failed: %s", said)
                self._answers.append(error if isinstance(error, Exception) else RuntimeError(said))
