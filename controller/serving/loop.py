"""The serving loop: the one place that applies a policy to the engine.

A tick is one engine step and the decisions that follow from it: the loop adds the tokens to thoughts and answers, forks
a probe at a transition point of a thought, closes a thought whose probe is confident enough, and immediately closes a
thought that has reached its budget.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from controller.policy import LoadObserver, Policy
from controller.serving.active import ActiveRequest
from controller.serving.admission import Admission, AdmissionLimits, QueueState
from controller.serving.fair_queue import Claim
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.reply import Reply
from controller.serving.request import ExitReason, ProbeObserver, ReasoningRequest, RequestId, Sink
from controller.serving.status import EndedRequest, LoopStatus
from controller.serving.thought import ThoughtControl
from engine.base import (
    CapacityError,
    Engine,
    EngineLoad,
    Event,
    Finished,
    FinishReason,
    Probed,
    Request,
    SequenceId,
    Started,
    Tokens,
)
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder

log = logging.getLogger(__name__)

SHOW_S = 0.1  # between two updates of the queue's status while the queue moves …
REFRESH_S = 1.0  # … and while it does not
ENDED = 256  # recently ended requests that the status keeps


class ServingLoop:
    """Drives an engine for many requests under one policy. All calls come from the engine's thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        tokenizer: Decoder,
        thinking: ThinkingTokens,
        policy: Policy,
        stop_tokens: frozenset[int],
        clock: Callable[[], float],
        score: Score | None = None,  # None: the thinking format's
        observer: LoadObserver | None = None,  # None: the load is not reported
        admission: AdmissionLimits | None = None,  # None: no limits
        loops: LoopDetection | None = None,  # None: looping thoughts are not closed
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._stop_tokens = stop_tokens
        self._clock = clock
        self._ids = count(1)
        self._requests: dict[RequestId, ActiveRequest] = {}  # all requests that wait or run
        self._running: dict[SequenceId, ActiveRequest] = {}  # the requests that the engine has
        self._pace = Pace()
        self._thoughts = ThoughtControl(
            engine=engine,
            tokenizer=tokenizer,
            thinking=thinking,
            policy=policy,
            stop_tokens=stop_tokens,
            score=score,
            pace=self._pace,
            loops=loops,
        )
        self._admission: Admission[ActiveRequest] = Admission(admission or AdmissionLimits(), self._pace)
        self._queue = QueueState()
        self._load = engine.load()
        self._queue_moved = False
        self._shown_s = -math.inf
        self._soonest_s = math.inf  # no later than the first deadline of the waiting requests
        self._steps = 0  # of the engine
        self._ticked_s: float | None = None  # when the last step began; None: the engine has been idle since
        self._arrived = self._finished = 0
        self._ended: deque[EndedRequest] = deque(maxlen=ENDED)
        self._observer = observer
        self._pure_step: tuple[float, int, float] | None = None  # the last step's, see _pure_decode_step

    @property
    def observed(self) -> bool:
        """Whether there is an observer, for which `idle` must be called while nothing runs."""
        return self._observer is not None

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._requests)

    @property
    def queue(self) -> QueueState:
        """The queue's status at its last update. May be read from any thread."""
        return self._queue

    @property
    def load(self) -> EngineLoad:
        """The engine's load at the last update of the queue's status. May be read from any thread."""
        return self._load

    @property
    def room(self) -> int:
        """The largest number of tokens that a prompt and its reply may have together."""
        return self._engine.max_tokens - self._thoughts.probe_room - len(self._thinking.landing)

    def room_for(self, landing: Sequence[int] | None) -> int:
        """Returns `room` for a request whose thought is cut with `landing`; None: the thinking format's."""
        own = self._thinking.landing
        return self.room - max(0, len(own if landing is None else landing) - len(own))

    def status(self) -> LoopStatus:
        """Returns the requests that wait, run or have ended recently, and the load."""
        now, load, queue = self._clock(), self._engine.load(), self._queue
        return LoopStatus(
            at_s=now,
            load=replace(load, waiting=len(self._requests) - load.running),
            drain_s=queue.drain_s,
            turned_away=queue.turned_away,
            arrived=self._arrived,
            finished=self._finished,
            running=tuple(active.running(now) for active in self._requests.values()),
            ended=tuple(self._ended),
        )

    def submit(self, request: ReasoningRequest, sink: Sink, observe: ProbeObserver | None = None) -> RequestId:
        """Queues a request. `sink` receives its deltas and, last, its outcome; `observe` receives its trial answers.

        Raises CapacityError if the request can never fit, Overloaded if it is turned away. In a full queue a waiting
        request may have to give way: its outcome is an error that says when it may be sent again.
        """
        landing = self._thinking.landing if request.landing is None else request.landing
        tokens = len(request.prompt) + request.max_tokens
        room = self.room_for(landing)
        if tokens > room:
            raise CapacityError(
                f"the prompt has {len(request.prompt)} tokens and max_tokens is {request.max_tokens}: "
                f"together {tokens}, must be at most {room}"
            )
        if self._observer is not None:
            self._observer.arrived(request.difficulty)  # a request that is turned away is load too
        self._arrived += 1
        now = self._clock()
        cells = tokens + (self._thoughts.probe_room + len(landing) if request.thinking else 0)
        expected = min(request.max_tokens, self._pace.rows or request.max_tokens)
        claim = replace(request.claim, cost=len(request.prompt) + expected)
        self._admit(now)  # the last step may have made room
        self._make_way(claim, cells, request.ttft_s)
        answer_room = min(self._thinking.format.answer_reserve, request.max_tokens // 2)
        active = ActiveRequest(
            id=RequestId(next(self._ids)),
            request=request,
            sink=sink,
            observe=observe,
            reply=Reply(emit=sink, decoder=self._tokenizer.stream, thinking=request.thinking, stop=request.stop),
            submitted_s=now,
            landing=landing,
            budget_cap=self._thoughts.budget_cap(request, landing, answer_room),
            answer_room=answer_room,
            prompt_tokens=len(request.prompt),
            cells=cells,
            claim=claim,
        )
        self._requests[active.id] = active
        if active.deadline_s is not None:
            self._soonest_s = min(self._soonest_s, active.deadline_s)
        self._admission.push(active, claim)
        self._admit(now)
        return active.id

    def turned_away(self) -> None:
        """Counts a request that was turned away before it was read: it is load too."""
        if self._observer is not None:
            self._observer.arrived(None)
        self._arrived += 1
        self._admission.turned_away += 1
        self._queue_moved = True

    def cancel(self, request: RequestId) -> None:
        """Drops a request and frees its memory at once; its sink receives nothing more."""
        active = self._requests.get(request)
        if active is not None:
            self._drop(active)

    def end_thought(self, request: RequestId) -> bool:
        """Has a request's thought closed as soon as possible; returns False if it has no running thought."""
        active = self._requests.get(request)
        if active is None or not active.thinking or active.exit_reason is not None:
            return False
        active.ending = ExitReason.REQUESTED
        return True

    def fail_running(self, error: str) -> None:
        """Ends every request that the engine has with an error: the engine has failed. Queued requests stay queued."""
        for active in list(self._running.values()):
            self._fail(active, error)

    def fail_all(self, error: str) -> None:
        """Ends every request with an error."""
        for active in list(self._requests.values()):
            self._fail(active, error)

    def tick(self) -> None:
        """Runs one engine step and makes the decisions that follow. A failure in one request ends only that request."""
        now = self._clock()
        if self._observer is not None:
            self._notify_observer(self._observer, now)
        if self._ticked_s is not None:
            self._pace.stepped(now - self._ticked_s)
        self._ticked_s = now
        self._expire(now)
        self._admit(now)
        events = self._engine.step()
        self._steps += 1
        if self._observer is not None:
            self._pure_step = self._pure_decode_step(events, now)
        for event in events:
            try:
                self._on_event(event, now)
            except Exception as error:
                self._broken(event.sequence, error)
        for sequence in dict.fromkeys(event.sequence for event in events):
            try:
                self._after_step(sequence, now)
            except Exception as error:
                self._broken(sequence, error)
        self._show_queue(now)

    def idle(self) -> None:
        """Tells the observer that time has passed while nothing ran."""
        if self._observer is not None:
            self._observer.tick(self._clock(), len(self._requests))

    # --- admission --------------------------------------------------------------------------------------------------

    def _make_way(self, claim: Claim, cells: int, patience_s: float | None) -> None:
        """Raises Overloaded if a new request must be turned away; in a full queue, may end a waiting one instead."""
        ages, held_up = self._in_engine()
        self._queue_moved = True
        way = self._admission.check(claim, ages, held_up=len(held_up), fits=self._fits(cells), patience_s=patience_s)
        if way is not None:
            active, refusal = way
            self._end(active, FinishReason.ERROR, str(refusal), retry_after_s=refusal.retry_after_s)

    def _admit(self, now: float) -> None:
        """Hands queued requests to the engine in turn, as long as it has room."""
        while (active := self._admission.next(len(self._running), lambda head: self._fits(head.cells))) is not None:
            self._queue_moved = True
            active.begun, active.begun_step = True, self._steps
            try:
                self._begin(active, now)
            except Exception as error:
                log.exception("request %d could not be begun", active.id)
                self._fail(active, f"{type(error).__name__}: {error}")

    def _fits(self, cells: int) -> bool:
        """Whether the engine has room to start a request of `cells` cells now, or has no request waiting in it.

        An engine that allocates memory as sequences grow can start more requests than could all reach their full
        length. So one request may always wait in the engine, so that no memory lies idle.
        """
        load = self._engine.load()
        due = sum(active.cells for active in self._running.values() if active.started_s is None)
        return not load.waiting or load.cells_reserved + due + cells <= load.cells_total

    def _in_engine(self) -> tuple[list[int], list[ActiveRequest]]:
        """Returns the running requests' ages, in steps, and the held-up ones: those not started within one step."""
        held_up = [
            active for active in self._running.values() if active.started_s is None and active.begun_step < self._steps
        ]
        ages = [self._steps - active.begun_step for active in self._running.values() if active not in held_up]
        return ages, held_up

    def _begin(self, active: ActiveRequest, now: float) -> None:
        request = active.request
        landing: tuple[int, ...] = ()
        self._pace.began(request.max_tokens)
        if request.thinking:
            self._thoughts.apply_limits(active)
            why = self._thoughts.close_reason(active, now)
            if why is not None:  # no thought at all: the landing closes it in the prompt
                active.exit_reason = why
                landing = active.landing
                active.prompt_tokens += len(landing)
        active.sequence = self._engine.submit(
            Request(
                prompt=request.prompt + landing,
                max_new_tokens=request.max_tokens,
                sampling=request.sampling,
                stop_tokens=self._stop_tokens,
                stops_armed=False,
                probe_room=self._thoughts.probe_room if request.thinking else 0,
            )
        )
        self._running[active.sequence] = active
        self._thoughts.show_landing(active, landing)

    def _expire(self, now: float) -> None:
        """Ends requests whose deadline has passed while they waited: no client would read their replies."""
        if now < self._soonest_s:
            return
        waiting = [active for active in self._requests.values() if active.started_s is None]
        for active in waiting:
            if active.deadline_s is not None and active.deadline_s <= now:
                waited = f"the deadline has passed after {now - active.submitted_s:.1f} s in the queue"
                self._end(active, FinishReason.ERROR, waited, expired=True)
        deadlines = (active.deadline_s for active in waiting if active.id in self._requests)
        self._soonest_s = min((by_s for by_s in deadlines if by_s is not None), default=math.inf)

    def _show_queue(self, now: float) -> None:
        age_s = now - self._shown_s
        moved = self._queue_moved and (age_s >= SHOW_S or not len(self._admission))
        if moved or age_s >= REFRESH_S:
            self._shown_s, self._queue_moved = now, False
            ages, held_up = self._in_engine()
            self._queue = self._admission.state(ages, lambda active: active.request.name, held_up)
            self._load = self._engine.load()

    def _drop(self, active: ActiveRequest) -> None:
        """Removes a request from the queue or the engine."""
        del self._requests[active.id]
        self._queue_moved = True
        if active.begun:
            self._admission.settle(active.claim, active.cost)
        else:
            self._admission.remove(lambda other: other is active)
        if active.sequence is not None:
            self._running.pop(active.sequence, None)
            self._engine.cancel(active.sequence)
        self._on_idle()

    def _on_idle(self) -> None:
        if not self._running:
            self._pure_step = self._ticked_s = None  # nothing is decoded until the next request
        if not self._requests:
            self._queue = replace(self._queue, running=0, turns=(), drain_s=0.0)
            self._load = self._engine.load()

    # --- events of a step -------------------------------------------------------------------------------------------

    def _notify_observer(self, observer: LoadObserver, now: float) -> None:
        """Reports the tick and the last step if it only decoded; the step's time includes the loop's own work."""
        if self._pure_step is not None:
            began, batch, context = self._pure_step
            observer.stepped(batch, context, now - began)
        observer.tick(now, len(self._requests))

    def _pure_decode_step(self, events: list[Event], now: float) -> tuple[float, int, float] | None:
        """Returns start, batch and mean context of a step that only decoded one token a sequence; None: any other."""
        batch, context = 0, 0
        for active in self._running.values():
            if active.started_s is not None:
                if active.probe is not None or not active.tokens:
                    return None  # the sequence's first token comes in the same step as its last chunk of prefill
                batch += 1
                context += active.prompt_tokens + active.tokens
        if not batch or len(events) != batch or not all(map(_is_one_token, events)):
            return None
        return now, batch, context / batch

    def _broken(self, sequence: SequenceId, error: Exception) -> None:
        """Fails the request of one sequence, for which handling the step raised `error`; the others go on."""
        log.exception("sequence %d failed", sequence)
        if sequence in self._running:
            self._fail(self._running[sequence], f"{type(error).__name__}: {error}")

    def _on_event(self, event: Event, now: float) -> None:
        """Handles one event of the step."""
        active = self._running.get(event.sequence)
        if active is None:
            return  # ended by an earlier event of this step
        match event:
            case Started():
                active.started_s, active.begun_step = now, self._steps - 1
                self._queue_moved = True
            case Tokens():
                if active.first_token_s is None:
                    active.first_token_s = self._clock()
                self._on_tokens(active, event)
            case Probed():
                self._thoughts.on_probe(active, event)
            case Finished():
                self._end(active, event.reason)

    def _after_step(self, sequence: SequenceId, now: float) -> None:
        active = self._running.get(sequence)
        if active is not None:
            self._thoughts.after_step(active, sequence, now)

    def _on_tokens(self, active: ActiveRequest, event: Tokens) -> None:
        tokens = event.tokens
        if active.thinking:
            tokens = self._thoughts.take_thought(active, tokens)
        for place, token in enumerate(tokens, start=1):
            active.tokens += 1
            active.answer_tokens += 1
            if token not in self._stop_tokens:
                say = active.reply.recite if active.answer_tokens <= active.recited else active.reply.push
                say(token)
            if active.reply.stopped:
                if event.forced:
                    active.probe_rows += len(tokens) - place  # a probe decoded them; no part of the reply
                self._end(active, FinishReason.STOP)
                return
            if active.reply.answered and not active.armed:
                self._thoughts.arm(active, event.sequence)

    # --- end of a request -------------------------------------------------------------------------------------------

    def _fail(self, active: ActiveRequest, error: str) -> None:
        if active.id in self._requests:
            self._end(active, FinishReason.ERROR, error)

    def _end(
        self,
        active: ActiveRequest,
        reason: FinishReason,
        error: str | None = None,
        *,
        expired: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        if error is None:
            active.reply.finish()
        self._drop(active)
        now = self._clock()
        if error is None:
            steps = self._steps - active.begun_step
            self._pace.finished(steps=steps, rows=active.rows, answer_tokens=active.answer_tokens)
        left_to_policy = active.request.thinking and active.request.early_exit and active.request.budget is None
        if self._observer is not None and left_to_policy and error is None:
            self._observer.finished(active.request.difficulty, active.rows)
        outcome = active.outcome(reason, now, error=error, expired=expired, retry_after_s=retry_after_s)
        self._finished += 1
        self._ended.append(EndedRequest.of(active.id, now, active.request.difficulty, outcome))
        active.sink(outcome)


def _is_one_token(event: Event) -> bool:
    return type(event) is Tokens and len(event.tokens) == 1 and not event.forced
