"""Runs a serving loop by commands from a queue, on one thread; what comes of them goes out as events.

The queue is emptied between two steps. The thread blocks on it while there is nothing to decode. All events of a step
go out together; where steps are short, the texts of several do.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from controller.serving.admission import Overloaded, QueueState
from controller.serving.loop import ServingLoop
from controller.serving.reply import Delta
from controller.serving.request import Checkpoint, Outcome, ReasoningRequest, RequestId
from controller.serving.status import ReplyItem, RequestProgress
from engine.base import CapacityError, EngineBrokenError, EngineError
from laser.server.engine_process.messages import (
    SHUTTING_DOWN,
    Accepted,
    Began,
    Broken,
    Cancel,
    Command,
    Ended,
    EndThought,
    Event,
    Failed,
    Gone,
    Handled,
    Inquire,
    NotAccepted,
    Ping,
    PolicyReport,
    Pong,
    Progressed,
    Refusal,
    Said,
    Seen,
    Shown,
    Stop,
    Submit,
    ThoughtEnded,
    TrialAnswered,
    TurnedAway,
)
from models.grammar.grammar import GrammarError

log = logging.getLogger(__name__)

HOLD_S = 0.005  # s that texts may wait for the next step's: to wake who receives them takes a fifth of a short one
HELD = 1024  # events that wait, at most, for the end of replies that nobody reads before
IDLE_S = 0.5  # s between two `idle` calls of an observed loop that has no requests

Counting: TypeAlias = Callable[[ReasoningRequest, Outcome, int], None]


def uncounted(request: ReasoningRequest, outcome: Outcome, running: int) -> None:
    """Counts nothing."""


class LoopDriver:
    """Serves until `Stop`. Only `put`, `busy_s` and `broken` may be used from other threads."""

    def __init__(
        self,
        loop: ServingLoop,
        send: Callable[[list[Event]], None],
        *,
        report: Callable[[], PolicyReport] | None = None,
        ended: Counting = uncounted,
        apart: bool = False,
        inbox: queue.Queue[Command] | None = None,
    ) -> None:
        """`send` gets the events of a step. `report` None: nothing is known of the policy.

        `ended` is called with each reply's request, its outcome and the number of requests that had not ended. `apart`:
        the loop has a process of its own. Then it also tells when requests begin and when the queue moves; and when
        the engine is broken, it ends and leaves what waits to the next process. `inbox` None: an unbounded one.
        """
        self._loop = loop
        self._send = send
        self._report = report
        self._count = ended
        self._apart = apart
        self._inbox: queue.Queue[Command] | queue.SimpleQueue[Command] = inbox or queue.SimpleQueue()
        self._outbox: list[Event] = []
        self._requests: dict[int, RequestId | None] = {}  # in the loop, by number; None: it is just being submitted
        self._shown: QueueState | None = None
        self._sent_s = -math.inf  # when events were last sent
        self._unread: set[int] = set()  # requests whose texts are read once they have ended
        self._step_since: float | None = None
        self._stopped = False
        self.broken: str | None = None  # why the engine is broken, so that requests are refused; None: it is not

    def put(self, command: Command) -> None:
        """Has a command obeyed between two steps."""
        self._inbox.put(command)

    @property
    def busy_s(self) -> float | None:
        """How long the present step has taken so far; None: there is none."""
        since = self._step_since
        return None if since is None else time.monotonic() - since

    def run(self) -> None:
        """Serves until it is stopped, or broken where another process takes over."""
        try:
            self._serve()
        except BaseException as error:  # a library's panic, too: nobody may go on waiting for a dead thread
            log.critical("the engine's thread has failed", exc_info=True)
            try:
                self._break(f"the engine's thread has failed: {type(error).__name__}: {error}")
            finally:
                self._flush()

    # --- the loop ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._obey():
            self._flush()  # nobody waits for a step to hear that a request is taken
            if self._loop.busy:
                self._step_since = time.monotonic()
                try:
                    self._loop.tick()
                except EngineBrokenError as error:
                    log.critical("the engine is broken, only a new process can serve: %s", error)
                    self._break(f"the engine is broken: {error}")
                except Exception as error:
                    log.exception("an engine step failed; its requests get an error, serving goes on")
                    self._fail_running(f"the engine failed: {type(error).__name__}: {error}")
                self._step_since = None
            self._flush()
            if self._apart and self.broken is not None:
                return
        self._fail_all(SHUTTING_DOWN)
        self._flush()

    def _obey(self) -> bool:
        """Obeys all commands, and waits for one while there is nothing to decode; returns False at the end."""
        idle = not self._loop.busy
        while not self._stopped:
            try:
                command = self._inbox.get(block=idle, timeout=IDLE_S if self._loop.observed else None)
            except queue.Empty:
                if idle:
                    self._loop.idle()
                return True
            self._do(command)
            idle = False
        return False

    def _do(self, command: Command) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Cancel():
                self._forget(command.number)
            case EndThought():
                request = self._requests.get(command.number)
                ended = request is not None and self._loop.end_thought(request)
                self._outbox.append(ThoughtEnded(call=command.call, ended=ended))
            case TurnedAway():
                self._loop.turned_away()
            case Inquire():
                self._look(command)
            case Ping():
                self._outbox.append(Pong(step_s=None))
            case Stop():
                self._stopped = True
            case _:
                raise TypeError(f"{command!r} is no command")

    def _look(self, command: Inquire) -> None:
        status = failure = None
        try:
            status = self._loop.status() if command.whole else None
        except Exception as error:
            log.exception("the engine could not be looked at")
            failure = f"the engine cannot be looked at: {type(error).__name__}: {error}"
        report = None if self._report is None else self._report()
        self._outbox.append(Seen(call=command.call, status=status, report=report, failure=failure))

    # --- requests ---------------------------------------------------------------------------------------------------

    def _submit(self, command: Submit) -> None:
        number = command.number
        if self.broken is not None:  # the engine broke while the request was in the inbox
            self._refuse(number, Refusal.FAILURE, self.broken)
            return
        if not command.streamed:
            self._unread.add(number)
        self._requests[number] = None  # before `submit`, since the request may end before `submit` returns
        emit = partial(self._emit, number, command.request)
        begun = partial(self._begun, number) if self._apart else None
        held = self._apart and command.request.grammar is not None
        if held:
            self._send([Handled(number=number, over=False)])
        try:
            request = self._loop.submit(
                command.request, emit, emit if command.probes else None, begun, emit if command.progress else None
            )
        except CapacityError as error:
            self._refuse(number, Refusal.CAPACITY, str(error))
        except (EngineError, GrammarError) as error:
            self._refuse(number, Refusal.INVALID, str(error))
        except Overloaded as error:
            self._refuse(number, Refusal.OVERLOADED, str(error), error.retry_after_s)
        except Exception as error:
            log.exception("a request could not be submitted")
            self._refuse(number, Refusal.FAILURE, f"the engine failed: {type(error).__name__}: {error}")
        else:
            if number in self._requests:
                self._requests[number] = request
            self._outbox.append(Accepted(number=number))
        if held:
            self._outbox.append(Handled(number=number, over=True))
            self._send_all()  # at once: the next command may end the process, for which this one is not to blame

    def _refuse(self, number: int, why: Refusal, message: str, retry_after_s: float = 0.0) -> None:
        self._left(number)
        self._outbox.append(NotAccepted(number=number, why=why, message=message, retry_after_s=retry_after_s))

    def _begun(self, number: int) -> None:
        self._send([Began(number=number)])  # at once: the step that follows may end the process

    def _emit(self, number: int, request: ReasoningRequest, item: ReplyItem) -> None:
        match item:
            case Delta():
                said = Said(number=number, channel=item.channel, text=item.text, scores=item.scores, choice=item.choice)
                self._outbox.append(said)
            case Checkpoint():
                self._outbox.append(TrialAnswered(number=number, checkpoint=item))
            case RequestProgress():
                self._outbox.append(Progressed(number=number, progress=item))
            case Outcome():
                self._count(request, item, len(self._requests))
                if not item.going_on:
                    self._left(number)
                self._outbox.append(Ended(number=number, outcome=item))

    def _left(self, number: int) -> RequestId | None:
        """Keeps nothing of a request any more; returns it as the loop knows it, None: not at all."""
        self._unread.discard(number)
        return self._requests.pop(number, None)

    def _forget(self, number: int) -> None:
        request = self._left(number)
        if request is None:
            return  # the request was refused, or has ended meanwhile
        outcomes: list[Outcome] = []
        try:
            outcomes = self._loop.cancel(request)
        except Exception:
            log.exception("a request could not be cancelled")
        self._outbox += [Gone(number=number, outcome=each) for each in outcomes] or [Gone(number=number, outcome=None)]

    # --- failures ---------------------------------------------------------------------------------------------------

    def _break(self, message: str) -> None:
        self.broken = message
        try:
            if not self._apart:
                self._fail_all(message)
        finally:
            self._outbox.append(Broken(message=message))

    def _fail_running(self, message: str) -> None:
        try:
            self._loop.fail_running(message)
        except Exception:  # an engine broken in mid-step may not be able to cancel either
            log.exception("the engine could not be cleared")
            self._fail_all(message)

    def _fail_all(self, message: str) -> None:
        try:
            self._loop.fail_all(message)
        except BaseException:  # a library's panic, too: all must be told, whatever is left of the engine
            log.exception("the engine could not be cleared")
        for number in list(self._requests):
            self._outbox.append(Failed(number=number, message=message))
            try:
                self._forget(number)
            except BaseException:
                log.exception("a request of a broken engine could not be cancelled")

    def _flush(self) -> None:
        if self._apart and self._loop.queue is not self._shown:
            self._shown = self._loop.queue
            self._outbox.append(Shown(queue=self._shown, load=self._loop.load))
        if self._outbox and not self._holds():
            self._send_all()

    def _send_all(self) -> None:
        batch, self._outbox = self._outbox, []
        self._sent_s = time.monotonic()
        self._send(batch)

    def _holds(self) -> bool:
        """Whether the events wait for the next step's: texts alone that nobody reads yet, or that follow just now."""
        if not self._loop.busy or len(self._outbox) > HELD:
            return False
        just_now = time.monotonic() - self._sent_s < HOLD_S
        return all(type(event) is Said and (just_now or event.number in self._unread) for event in self._outbox)
