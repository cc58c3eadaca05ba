"""The serving loop: the one place where policy meets engine.

A tick is one engine step and what follows from it: tokens grow thoughts and answers; a transition point of a thought
forks a probe; a probe confident enough closes its thought; a thought at its budget is closed on the spot.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from controller.policy import Policy, Watcher
from controller.serving.active import Live
from controller.serving.admission import Admission, AdmissionLimits, QueueState
from controller.serving.fair_queue import Claim
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.reply import Reply
from controller.serving.request import ExitReason, Observer, ReasoningRequest, RequestId, Sink
from controller.serving.status import Ended, View
from controller.serving.thought import Steering
from engine.base import (
    CapacityError,
    Engine,
    Event,
    Finished,
    FinishReason,
    Load,
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

SHOW_S = 0.1  # between two pictures of a queue that moves …
REFRESH_S = 1.0  # … and of one that does not
ENDED = 256  # of the last requests that ended the view tells


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
        watcher: Watcher | None = None,
        admission: AdmissionLimits | None = None,  # None: everything goes to the engine at once
        loops: LoopDetection | None = None,  # None: thoughts may go round in circles
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._stop_tokens = stop_tokens
        self._clock = clock
        self._ids = count(1)
        self._requests: dict[RequestId, Live] = {}  # that wait or run
        self._live: dict[SequenceId, Live] = {}  # that the engine has
        self._pace = Pace()
        self._steering = Steering(
            engine=engine,
            tokenizer=tokenizer,
            thinking=thinking,
            policy=policy,
            stop_tokens=stop_tokens,
            score=score,
            pace=self._pace,
            loops=loops,
        )
        self._admission: Admission[Live] = Admission(admission or AdmissionLimits(), self._pace)
        self._queue = QueueState()
        self._load = engine.load()
        self._queue_moved = False
        self._shown_s = -math.inf
        self._soonest_s = math.inf  # the first deadline of those that wait, or one before it
        self._steps = 0  # of the engine
        self._ticked_s: float | None = None  # when the last step began, if there was work since
        self._arrived = self._finished = 0
        self._ended: deque[Ended] = deque(maxlen=ENDED)
        self._watcher = watcher
        self._watched_step: tuple[float, int, float] | None = None  # when a pure decode step began, batch and context

    @property
    def watched(self) -> bool:
        """Whether somebody wants to hear of time that passes, even while nothing runs."""
        return self._watcher is not None

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._requests)

    @property
    def queue(self) -> QueueState:
        """Who waits, and for how long. From any thread."""
        return self._queue

    @property
    def load(self) -> Load:
        """What the engine held when the queue moved last. From any thread."""
        return self._load

    @property
    def room(self) -> int:
        """The most tokens that a prompt and its reply may have together."""
        return self._engine.max_tokens - self._steering.probe_room - len(self._thinking.landing)

    def room_for(self, landing: Sequence[int] | None) -> int:
        """The same where a thought is closed with these tokens; None: with the thinking format's."""
        own = self._thinking.landing
        return self.room - max(0, len(own if landing is None else landing) - len(own))

    def view(self) -> View:
        """What runs and what has ended lately."""
        now, load, queue = self._clock(), self._engine.load(), self._queue
        return View(
            at_s=now,
            load=replace(load, waiting=len(self._requests) - load.running),
            drain_s=queue.drain_s,
            turned_away=queue.turned_away,
            arrived=self._arrived,
            finished=self._finished,
            running=tuple(live.running(now) for live in self._requests.values()),
            ended=tuple(self._ended),
        )

    def submit(self, request: ReasoningRequest, sink: Sink, observe: Observer | None = None) -> RequestId:
        """Queue a request; its deltas and, last, its outcome go to `sink`, the probes of its thought to `observe`.

        Raises CapacityError if it can never fit, Overloaded if it is to come back later. One of another tenant's that
        waits may have to give way for it: its outcome is an error that says when it may come back.
        """
        landing = self._thinking.landing if request.landing is None else request.landing
        tokens = len(request.prompt) + request.max_tokens
        room = self.room_for(landing)
        if tokens > room:
            raise CapacityError(
                f"the prompt has {len(request.prompt)} tokens and max_tokens is {request.max_tokens}: "
                f"together {tokens}, must be at most {room}"
            )
        if self._watcher is not None:
            self._watcher.arrived(request.difficulty)  # one that is turned away, too, is load
        self._arrived += 1
        now = self._clock()
        cells = tokens + (self._steering.probe_room + len(landing) if request.thinking else 0)
        expected = min(request.max_tokens, self._pace.rows or request.max_tokens)
        claim = replace(request.claim, cost=len(request.prompt) + expected)
        self._admit(now)  # for there may be room since the last step
        self._make_way(claim, cells, request.ttft_s)
        answer_room = min(self._thinking.format.answer_reserve, request.max_tokens // 2)
        live = Live(
            id=RequestId(next(self._ids)),
            request=request,
            sink=sink,
            observe=observe,
            reply=Reply(emit=sink, decoder=self._tokenizer.stream, thinking=request.thinking, stop=request.stop),
            submitted_s=now,
            landing=landing,
            budget_cap=self._steering.budget_cap(request, landing, answer_room),
            answer_room=answer_room,
            prompt_tokens=len(request.prompt),
            cells=cells,
            claim=claim,
        )
        self._requests[live.id] = live
        if live.deadline_s is not None:
            self._soonest_s = min(self._soonest_s, live.deadline_s)
        self._admission.push(live, claim)
        self._admit(now)
        return live.id

    def turned_away(self) -> None:
        """A request has come that was turned away before it was read: load, too."""
        if self._watcher is not None:
            self._watcher.arrived(None)
        self._arrived += 1
        self._admission.turned_away += 1
        self._queue_moved = True

    def cancel(self, request: RequestId) -> None:
        """Forget a request and free its memory at once; nothing more reaches its sink."""
        live = self._requests.get(request)
        if live is not None:
            self._forget(live)

    def end_thought(self, request: RequestId) -> bool:
        """Have a request's thought closed as soon as may be; False where there is none that goes on."""
        live = self._requests.get(request)
        if live is None or not live.thinking or live.exit_reason is not None:
            return False
        live.ending = ExitReason.REQUESTED
        return True

    def fail_running(self, error: str) -> None:
        """End every request that the engine has with an error: it has failed under them. Those that wait, wait on."""
        for live in list(self._live.values()):
            self._fail(live, error)

    def fail_all(self, error: str) -> None:
        """End every request with an error."""
        for live in list(self._requests.values()):
            self._fail(live, error)

    def tick(self) -> None:
        """One engine step, and every decision that follows from it. One request's failure is its own."""
        now = self._clock()
        if self._watcher is not None:
            self._watch(self._watcher, now)
        if self._ticked_s is not None:
            self._pace.stepped(now - self._ticked_s)
        self._ticked_s = now
        self._expire(now)
        self._admit(now)
        events = self._engine.step()
        self._steps += 1
        if self._watcher is not None:
            self._watched_step = self._pure(events, now)
        for event in events:
            try:
                self._take(event, now)
            except Exception as error:
                self._broken(event.sequence, error)
        for sequence in dict.fromkeys(event.sequence for event in events):
            try:
                self._decide(sequence, now)
            except Exception as error:
                self._broken(sequence, error)
        self._show_queue(now)

    def idle(self) -> None:
        """Nothing runs, but time has passed."""
        if self._watcher is not None:
            self._watcher.tick(self._clock(), len(self._requests))

    # --- who is served ----------------------------------------------------------------------------------------------

    def _make_way(self, claim: Claim, cells: int, patience_s: float | None) -> None:
        """Raises Overloaded where a newcomer cannot be borne; in a full queue another may have to end for it."""
        ages, held_up = self._in_engine()
        self._queue_moved = True
        way = self._admission.check(claim, ages, held_up=len(held_up), fits=self._fits(cells), patience_s=patience_s)
        if way is not None:
            live, refusal = way
            self._end(live, FinishReason.ERROR, str(refusal), retry_after_s=refusal.retry_after_s)

    def _admit(self, now: float) -> None:
        """Hand the engine whoever's turn it is, as long as it has room."""
        while (live := self._admission.next(len(self._live), lambda head: self._fits(head.cells))) is not None:
            self._queue_moved = True
            live.begun, live.begun_step = True, self._steps
            try:
                self._begin(live, now)
            except Exception as error:
                log.exception("request %d could not be begun", live.id)
                self._fail(live, f"{type(error).__name__}: {error}")

    def _fits(self, cells: int) -> bool:
        """Whether the engine can start one of so many tokens, or has none before it to start.

        An engine that takes memory as a sequence grows starts more than what they may all need: so one may always wait
        there, lest memory lie idle.
        """
        load = self._engine.load()
        due = sum(live.cells for live in self._live.values() if live.started_s is None)
        return not load.waiting or load.cells_reserved + due + cells <= load.cells_total

    def _in_engine(self) -> tuple[list[int], list[Live]]:
        """The ages of those that run, steps, and those that the engine was handed but could not start in a step."""
        held_up = [live for live in self._live.values() if live.started_s is None and live.begun_step < self._steps]
        ages = [self._steps - live.begun_step for live in self._live.values() if live not in held_up]
        return ages, held_up

    def _begin(self, live: Live, now: float) -> None:
        request = live.request
        landing: tuple[int, ...] = ()
        self._pace.began(request.max_tokens)
        if request.thinking:
            self._steering.heed(live)
            why = self._steering.due(live, now)
            if why is not None:  # no thought at all: the prompt closes it
                live.exit_reason = why
                landing = live.landing
                live.prompt_tokens += len(landing)
        live.sequence = self._engine.submit(
            Request(
                prompt=request.prompt + landing,
                max_new_tokens=request.max_tokens,
                sampling=request.sampling,
                stop_tokens=self._stop_tokens,
                stops_armed=False,
                probe_room=self._steering.probe_room if request.thinking else 0,
            )
        )
        self._live[live.sequence] = live
        self._steering.show_landing(live, landing)

    def _expire(self, now: float) -> None:
        """End those whose deadline has passed while they waited: nobody reads what they would say."""
        if now < self._soonest_s:
            return
        waiting = [live for live in self._requests.values() if live.started_s is None]
        for live in waiting:
            if live.deadline_s is not None and live.deadline_s <= now:
                waited = f"the deadline has passed after {now - live.submitted_s:.1f} s in the queue"
                self._end(live, FinishReason.ERROR, waited, expired=True)
        deadlines = (live.deadline_s for live in waiting if live.id in self._requests)
        self._soonest_s = min((by_s for by_s in deadlines if by_s is not None), default=math.inf)

    def _show_queue(self, now: float) -> None:
        age_s = now - self._shown_s
        moved = self._queue_moved and (age_s >= SHOW_S or not len(self._admission))
        if moved or age_s >= REFRESH_S:
            self._shown_s, self._queue_moved = now, False
            ages, held_up = self._in_engine()
            self._queue = self._admission.state(ages, lambda live: live.request.name, held_up)
            self._load = self._engine.load()

    def _forget(self, live: Live) -> None:
        """Drop a request, wherever it is."""
        del self._requests[live.id]
        self._queue_moved = True
        if live.begun:
            self._admission.settle(live.claim, live.cost)
        else:
            self._admission.remove(lambda other: other is live)
        if live.sequence is not None:
            self._live.pop(live.sequence, None)
            self._engine.cancel(live.sequence)
        self._rest()

    def _rest(self) -> None:
        if not self._live:
            self._watched_step = self._ticked_s = None  # until the next request comes nothing is decoded
        if not self._requests:
            self._queue = replace(self._queue, running=0, turns=(), drain_s=0.0)
            self._load = self._engine.load()

    # --- what a step brings -----------------------------------------------------------------------------------------

    def _watch(self, watcher: Watcher, now: float) -> None:
        """Tell of the last step, from its beginning to this one's: what a token takes, the loop's own work included."""
        if self._watched_step is not None:
            began, batch, context = self._watched_step
            watcher.stepped(batch, context, now - began)
        watcher.tick(now, len(self._requests))

    def _pure(self, events: list[Event], now: float) -> tuple[float, int, float] | None:
        """Of a step that decoded one token for each running sequence and did nothing else; None for any other."""
        batch, context = 0, 0
        for live in self._live.values():
            if live.started_s is not None:
                if live.probe is not None or not live.tokens:
                    return None  # its last chunk of prefill comes with its first token
                batch += 1
                context += live.prompt_tokens + live.tokens
        if not batch or len(events) != batch or not all(map(_is_one_token, events)):
            return None
        return now, batch, context / batch

    def _broken(self, sequence: SequenceId, error: Exception) -> None:
        """What was done for one sequence has failed: its request fails, and nobody else's."""
        log.exception("sequence %d failed", sequence)
        if sequence in self._live:
            self._fail(self._live[sequence], f"{type(error).__name__}: {error}")

    def _take(self, event: Event, now: float) -> None:
        """What an event brings."""
        live = self._live.get(event.sequence)
        if live is None:
            return  # ended by an earlier event of this step
        match event:
            case Started():
                live.started_s, live.begun_step = now, self._steps - 1
                self._queue_moved = True
            case Tokens():
                if live.first_token_s is None:
                    live.first_token_s = self._clock()
                self._on_tokens(live, event)
            case Probed():
                self._steering.hear(live, event)
            case Finished():
                self._end(live, event.reason)

    def _decide(self, sequence: SequenceId, now: float) -> None:
        live = self._live.get(sequence)
        if live is not None:
            self._steering.decide(live, sequence, now)

    def _on_tokens(self, live: Live, event: Tokens) -> None:
        tokens = event.tokens
        if live.thinking:
            tokens = self._steering.think(live, tokens)
        for place, token in enumerate(tokens, start=1):
            live.tokens += 1
            live.answer_tokens += 1
            if token not in self._stop_tokens:
                say = live.reply.recite if live.answer_tokens <= live.recited else live.reply.push
                say(token)
            if live.reply.stopped:
                if event.forced:
                    live.probe_rows += len(tokens) - place  # of its answer that was kept: a probe has decoded them
                self._end(live, FinishReason.STOP)
                return
            if live.reply.answered and not live.armed:
                self._steering.arm(live, event.sequence)

    # --- how it ends ------------------------------------------------------------------------------------------------

    def _fail(self, live: Live, error: str) -> None:
        if live.id in self._requests:
            self._end(live, FinishReason.ERROR, error)

    def _end(
        self,
        live: Live,
        reason: FinishReason,
        error: str | None = None,
        *,
        expired: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        if error is None:
            live.reply.finish()
        self._forget(live)
        now = self._clock()
        if error is None:
            steps = self._steps - live.begun_step
            self._pace.finished(steps=steps, rows=live.rows, answer_tokens=live.answer_tokens)
        left_to_policy = live.request.thinking and live.request.early_exit and live.request.budget is None
        if self._watcher is not None and left_to_policy and error is None:
            self._watcher.finished(live.request.difficulty, live.rows)
        outcome = live.outcome(reason, now, error=error, expired=expired, retry_after_s=retry_after_s)
        self._finished += 1
        self._ended.append(Ended.of(live.id, now, live.request.difficulty, outcome))
        live.sink(outcome)


def _is_one_token(event: Event) -> bool:
    return type(event) is Tokens and len(event.tokens) == 1 and not event.forced
