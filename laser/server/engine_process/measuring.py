"""Requests whose grammar is new wait here, until a thread of its own has compiled and measured the grammar.

Neither the loop's steps nor the thread that reads commands wait for it: other requests go past.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from laser.server.engine_process.messages import (
    Cancel,
    Command,
    EndThought,
    Event,
    Gone,
    Handled,
    NotAccepted,
    Refusal,
    Submit,
    TurnedAway,
)
from models.grammar.compiling import Grammars

log = logging.getLogger(__name__)

MOST_MEASURED = 1024  # requests that wait for their grammars; beyond, they are turned away
RETRY_S = 1.0  # after which one that is turned away may be sent again


class Measuring:
    """Passes commands on, each request's in the order of their coming; a new grammar's request once it is measured.

    A request that is cancelled meanwhile is dropped at once, and a grammar that nobody waits for is not measured.
    """

    def __init__(
        self,
        grammars: Grammars,
        pass_on: Callable[[Command], None],
        send: Callable[[list[Event]], None],
        most: int = MOST_MEASURED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pass_on` takes commands to the loop, `send` events to the sender of commands; both on either thread."""
        self._grammars = grammars
        self._pass_on = pass_on
        self._send = send
        self._clock = clock
        self._waiting: dict[int, list[Command]] = {}  # by request: its `Submit`, and what came for it since
        # those that wait, and some that are cancelled, in order, with when they came
        self._work: queue.Queue[tuple[Submit, float]] = queue.Queue(most)
        self._lock = threading.Lock()
        threading.Thread(target=self._measure, name="grammars measured", daemon=True).start()

    def take(self, command: Command) -> None:
        """Takes the next command. Waits only where `pass_on` does."""
        with self._lock:
            match command:
                case Submit(request=request) if request.grammar is not None and request.grammar not in self._grammars:
                    self._keep(command)
                case Cancel(number=number) if number in self._waiting:
                    del self._waiting[number]
                    self._send([Gone(number=number, outcome=None)])
                case EndThought(number=number) if number in self._waiting:
                    self._waiting[number].append(command)
                case _:
                    self._pass_on(command)

    def _keep(self, command: Submit) -> None:
        try:
            self._work.put_nowait((command, self._clock()))
        except queue.Full:
            self._pass_on(TurnedAway())
            message = f"{self._work.maxsize} requests wait for their grammars to be measured, must be fewer"
            why = Refusal.OVERLOADED
            self._send([NotAccepted(number=command.number, why=why, message=message, retry_after_s=RETRY_S)])
        else:
            self._waiting[command.number] = [command]

    def _measure(self) -> None:
        while True:
            command, came_s = self._work.get()
            grammar = command.request.grammar
            with self._lock:
                awaited = command.number in self._waiting
            if awaited and grammar is not None:
                self._send([Handled(number=command.number, over=False)])
                try:
                    self._grammars.warm(grammar)
                except BaseException:  # a library's panic, too: the loop meets it again, and tells the request
                    log.exception("a grammar could not be measured")
                self._send([Handled(number=command.number, over=True)])
            with self._lock:  # so that nothing overtakes the request
                for each in self._waiting.pop(command.number, ()):
                    self._pass_on(self._aged(each, came_s))

    def _aged(self, command: Command, came_s: float) -> Command:
        """Returns a command with the wait of its request, which came at `came_s`."""
        if not isinstance(command, Submit):
            return command
        waited_s = command.request.waited_s + self._clock() - came_s
        return structs.replace(command, request=replace(command.request, waited_s=waited_s))
