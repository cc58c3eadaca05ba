"""When the engine's process is started again, and what becomes of the requests that it leaves. No clock, no process."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from msgspec import structs

from controller.serving.request import NO_THOUGHT, Outcome
from controller.serving.status import LoopStatus
from engine.base import FinishReason
from laser.server.engine_process.messages import Command, NotAccepted, Refusal, Submit, TurnedAway

log = logging.getLogger(__name__)

FAILING_ENDS = 3  # ends of the process within FAILING_S after which the server counts as failing
FAILING_S = 60.0
DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before each start, while no process has come to anything
SOUND_S = 60.0  # after which a process has come to something, even if nobody has asked it
LOAD_S = 900.0  # of silence after which a process that loads is ended: a large model's slow disk tells nothing for long
SLOWER = 3.0  # times as long as the longest start so far, during which a process may load if that is more
FROZEN_S = 5.0  # of silence after which that is told
TWICE = 2  # processes that may end under a request


class Restarts:
    """Decides when a process that has ended is started again. Times are on any one clock."""

    def __init__(self) -> None:
        self.count = 0  # of processes that were started again
        self._ends: deque[float] = deque(maxlen=FAILING_ENDS)
        self._in_vain = 0  # processes in a row that have come to nothing
        self._began_s: float | None = None  # when the present one began to serve; None: none does
        self._useful = False  # whether the present one has come to something

    def began(self, now: float) -> None:
        """A process serves."""
        self._began_s, self._useful = now, False

    def useful(self) -> None:
        """The present process has decoded something for a client."""
        self._useful = True

    def ended(self, now: float) -> float | None:
        """A process has ended, or could not begin. Returns the time before the next start; None: there is none."""
        self._ends.append(now)
        sound = self._useful or (self._began_s is not None and now - self._began_s >= SOUND_S)
        self._in_vain = 0 if sound else self._in_vain
        self._began_s, self._useful = None, False
        if self._in_vain == len(DELAYS_S):
            return None
        self._in_vain += 1
        self.count += 1
        return DELAYS_S[self._in_vain - 1]

    def failing(self, now: float) -> bool:
        """Whether processes have ended too often lately."""
        return len(self._ends) == FAILING_ENDS and now - self._ends[0] <= FAILING_S


class Silence:
    """What is made of the times for which a process does not answer, or is in one step of the engine."""

    def __init__(self, stall_s: float, limit_s: float) -> None:
        """After `stall_s` of either the process hangs; after `limit_s` it is to be ended."""
        self._step_s = 0.0  # how long the present step had taken when that was last told
        self._stall_s, self._limit_s = stall_s, limit_s
        self._frozen = False  # whether the log has been told
        self._start_s = 0.0  # the longest that a process has loaded

    def step(self, step_s: float | None) -> None:
        """The process has told how long its step has taken so far; None: it is in none."""
        self._step_s = step_s or 0.0

    def stalled(self, silent_s: float) -> str | None:
        """Returns why a process that has told nothing for so long hangs; None: it does not."""
        if silent_s > self._stall_s:
            return f"the engine's process has not answered for more than {self._stall_s:g} s"
        if self._step_s > self._stall_s:
            return f"a step of the engine has taken more than {self._stall_s:g} s"
        return None

    def look(self, silent_s: float) -> str | None:
        """Returns why a process that has told nothing for so long is to be ended; None: it is not. Tells the log."""
        if (silent_s > FROZEN_S) is not self._frozen:
            self._frozen = not self._frozen
            if self._frozen:
                log.warning("the engine's process has not answered for %.0f s: requests wait", silent_s)
            else:
                log.info("the engine's process answers again")
        if max(silent_s, self._step_s) <= self._limit_s:
            return None
        what = "a step of the engine" if self._step_s > self._limit_s else "an answer of the engine's process"
        return f"{what} has taken more than {self._limit_s:g} s"

    def loading(self, silent_s: float) -> str | None:
        """Returns why a process that loads and has told nothing for so long is to be ended; None: it is not."""
        limit_s = max(LOAD_S, SLOWER * self._start_s)
        return None if silent_s <= limit_s else f"the engine's process has loaded nothing for more than {limit_s:g} s"

    def loaded(self, took_s: float) -> None:
        """A process has loaded, and has taken so long for it: another may well do so without a word."""
        self._start_s = max(self._start_s, took_s)

    def ended(self) -> None:
        """The process has ended."""
        self._step_s, self._frozen = 0.0, False


class Fate(Enum):
    """What becomes of a request whose process has ended."""

    AGAIN = auto()  # its client has got nothing: it is sent to the next process
    LOST = auto()  # its client has got a part of its reply
    GUILTY = auto()  # it ran, or its grammar was worked on, in two processes that ended, and may be the reason


@dataclass(slots=True, kw_only=True)
class _Silent:
    """A request of which nothing has come."""

    command: Submit
    since_s: float  # when it came
    running: bool = False
    handled: bool = False  # its grammar is being worked on
    ends: int = 0  # of processes under it


class Ledger:
    """Keeps each request until something of its reply has come, so that it can be sent again."""

    def __init__(self) -> None:
        self._silent: dict[int, _Silent] = {}

    def __len__(self) -> int:
        return len(self._silent)

    def enter(self, command: Submit, now: float) -> None:
        """A request is to be sent."""
        self._silent[command.number] = _Silent(command=command, since_s=now)

    def began(self, number: int) -> None:
        """A request has left the queue for the engine."""
        if number in self._silent:
            self._silent[number].running = True

    def handled(self, number: int, *, over: bool) -> None:
        """Work on a request's grammar begins, or is over: whether the request has begun is another matter."""
        if number in self._silent:
            self._silent[number].handled = not over

    def spoke(self, number: int) -> None:
        """Something of a reply has come: its request cannot be sent again."""
        self._silent.pop(number, None)

    def over(self, number: int) -> None:
        """A request has ended."""
        self._silent.pop(number, None)

    def fate(self, number: int) -> Fate:
        """Returns what becomes of a request now that its process has ended; it no longer runs."""
        silent = self._silent.get(number)
        if silent is None:
            return Fate.LOST
        silent.ends += silent.running or silent.handled
        silent.running = silent.handled = False
        return Fate.GUILTY if silent.ends >= TWICE else Fate.AGAIN

    def again(self, now: float) -> Iterator[Submit]:
        """Yields what is to be sent to a new process, in the order of its coming, with how long it has waited."""
        for silent in self._silent.values():
            request = replace(silent.command.request, waited_s=now - silent.since_s)
            yield structs.replace(silent.command, request=request)

    def expired(self, now: float) -> list[tuple[int, Outcome]]:
        """Returns the requests whose deadline has passed while no process served, with the outcome that says so."""
        found = []
        for number, silent in self._silent.items():
            request, waited_s = silent.command.request, now - silent.since_s
            if request.deadline_s is not None and request.deadline_s <= waited_s:
                outcome = Outcome(
                    finish_reason=FinishReason.ERROR, prompt_tokens=len(request.prompt), completion_tokens=0,
                    thought=NO_THOUGHT, queue_s=waited_s, total_s=waited_s, expired=True,
                    error=f"the deadline has passed after {waited_s:.1f} s in the queue",
                )  # fmt: skip
                found.append((number, outcome))
        return found


class Counts:
    """What all processes have counted together. A request counts once, however many of them it has come to."""

    def __init__(self) -> None:
        self.turned_away = 0  # in the processes that have ended
        self._arrived = self._finished = self._replies = 0  # in those
        self._seen: LoopStatus | None = None  # the present one's, at the last look
        self._since = 0  # requests that have come to it since
        self._again = 0  # that have come to it, and had come to another one
        self._known: set[int] = set()  # that are on their way to it, and had come to another one
        self._told = 0  # the most arrivals that were told

    def sent_again(self, numbers: Iterable[int]) -> None:
        """Requests that had come to an earlier process are sent to the present one."""
        self._known.update(numbers)

    def came(self, number: int) -> None:
        """A request has come to the present process, whether it waits there or is turned away."""
        self._since += 1
        self._again += number in self._known
        self._known.discard(number)

    def refused(self, event: NotAccepted) -> None:
        """The present process refuses a request. Its loop has counted it, but for one that nothing could serve."""
        if event.why in (Refusal.OVERLOADED, Refusal.FAILURE):
            self.came(event.number)

    def sent(self, command: Command, *, served: bool) -> None:
        """A command is sent to the present process; `served` false: there is none, and so nobody else counts it."""
        if isinstance(command, TurnedAway):
            self._since += served
            self._arrived += not served

    def looked(self, status: LoopStatus) -> LoopStatus:
        """The present process has told its status. Returns it as that of all processes since the start."""
        self._seen, self._since = status, 0
        self._told = max(self._told, self._arrived + status.arrived - self._again)
        return replace(
            status,
            arrived=self._told,
            finished=status.finished + self._finished,
            replies=status.replies + self._replies,
            turned_away=status.turned_away + self.turned_away,
        )

    def ended(self, turned_away: int) -> None:
        """The present process has ended; `turned_away` is what all have turned away."""
        if self._seen is not None:
            self._arrived += self._seen.arrived
            self._finished += self._seen.finished
            self._replies += self._seen.replies
        self._arrived += self._since - self._again
        self.turned_away = turned_away
        self._seen, self._since, self._again = None, 0, 0
        self._known.clear()
