"""The serving loop: the one place that applies a policy to the engine.

A tick is one engine step and the decisions that follow from it: the loop adds the tokens to thoughts and answers, forks
a probe at a transition point of a thought, closes a thought whose probe is confident enough, and immediately closes a
thought that has reached its budget.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from controller.policy import LoadObserver, Policy
from controller.serving.active import ActiveRequest
from controller.serving.admission import Admission, AdmissionLimits, QueueState
from controller.serving.choices.accounts import left, outcome
from controller.serving.choices.race import Racing, all_begun
from controller.serving.choices.together import Together, for_each
from controller.serving.deadlines import Deadlines
from controller.serving.engine_requests import EngineRequests
from controller.serving.fair_queue import Claim
from controller.serving.ordering.turns import ServingOrder, ServingTurns
from controller.serving.pace import Pace
from controller.serving.queue_display import QueueDisplay
from controller.serving.repetition import LoopDetection
from controller.serving.request import Outcome, ProbeObserver, ReasoningRequest, RequestId, Sink
from controller.serving.status import LoopStatus, LoopTally, ProgressObserver
from controller.serving.step_report import StepReport
from controller.serving.thought import ThoughtControl
from engine.base import Engine, EngineLoad, Event, Finished, FinishReason, Probed, SequenceId, Started, Tokens
from models.grammar.compiling import Grammars
from models.kinds.kind import AnswerKind
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder

log = logging.getLogger(__name__)


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
        rows: int | None = None,  # tokens that the model has a row for; None: all of the tokenizer's
        every_probe: bool = False,  # ask wherever the format says, whatever a row costs the engine
        certified: frozenset[AnswerKind] | None = None,  # kinds of answers that the limits hold for; None: all
        grammars: Grammars | None = None,  # None: no answer is held to one
        order: ServingOrder | None = None,  # None: first come, first served
    ) -> None:
        self._engine, self._thinking, self._clock = engine, thinking, clock
        self._ids = count(1)
        self._requests: dict[RequestId, ActiveRequest] = {}  # all replies that wait or run
        self._together: dict[RequestId, Together] = {}  # the replies to each request
        self._in_engine, self._pace = EngineRequests(engine), Pace()
        self._thoughts = ThoughtControl(
            engine=engine, tokenizer=tokenizer, thinking=thinking, policy=policy, stop_tokens=stop_tokens, score=score,
            pace=self._pace, loops=loops, rows=rows, every_probe=every_probe, certified=certified, grammars=grammars,
            constant=observer is None,
        )  # fmt: skip
        self._admission: Admission[ActiveRequest] = Admission(admission or AdmissionLimits(), self._pace)
        self._turns = ServingTurns(
            order, foreseen=self._thoughts.foreseen, admission=self._admission, in_engine=self._in_engine
        )
        self._racing = Racing(
            policy=policy, certified=certified, opening=self._thoughts.opening, admission=self._admission,
            in_engine=self._in_engine, ids=self._ids, drop=partial(self._drop, served=True), tell=self._tell,
        )  # fmt: skip
        self._display, self._deadlines = QueueDisplay(engine, self._admission), Deadlines()
        self._steps = 0  # of the engine
        self._ticked_s: float | None = None  # when the last step began; None: the engine has been idle since
        self._tally = LoopTally()
        self._report = StepReport(observer, engine)

    @property
    def observed(self) -> bool:
        """Whether there is an observer, for which `idle` must be called while nothing runs."""
        return self._report.observed

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._requests)

    @property
    def queue(self) -> QueueState:
        """The queue's status at its last update. May be read from any thread."""
        return self._display.queue

    @property
    def load(self) -> EngineLoad:
        """The engine's load at the last update of the queue's status. May be read from any thread."""
        return self._display.load

    @property
    def room(self) -> int:
        """The largest number of tokens that a prompt and its reply may have together."""
        return self._engine.max_tokens - self._thoughts.probe_room - self._thinking.longest_landing

    def room_for(self, landing: Sequence[int] | None) -> int:
        """Returns `room` for a request whose thought is cut with `landing`; None: the thinking format's."""
        return self.room - max(0, len(landing or ()) - self._thinking.longest_landing)

    def status(self) -> LoopStatus:
        """Returns the requests that wait, run or have ended recently, and the load."""
        return self._tally.status(self._clock(), self._engine.load(), self.queue, list(self._requests.values()))

    def submit(
        self, request: ReasoningRequest, sink: Sink, observe: ProbeObserver | None = None,
        on_begin: Callable[[], None] | None = None, watch: ProgressObserver | None = None,
    ) -> RequestId:  # fmt: skip
        """Queues a request. `sink` receives its deltas and, last, its outcome; `observe` receives its trial answers.

        `on_begin` is called once the request leaves the queue, before the engine's next step; from then on `watch` gets
        its progress. Raises CapacityError if the request can never fit, GrammarError or UnsupportedError if its answer
        cannot be held to its grammar, Overloaded if it is turned away. In a full queue a waiting request may have to
        give way: its outcome is an error that says when it may be sent again.
        """
        opening = self._thoughts.opening
        landing = opening.landing(request, opening.held(request))
        cells = opening.cells(request, landing, self.room_for(landing))
        self._report.arrived(request.difficulty, request.choices)  # a request that is turned away is load too
        self._tally.arrived += 1
        now = self._clock()
        claim = self._turns.claim(request, self._pace.rows, now)
        self._admit(now)  # the last step may have made room
        if not request.overdue:  # one that is over already makes nobody give way
            self._make_way(claim, request.choices * cells, request.patience_s)
        together = opening.replies(
            request, sink, self._ids, landing=landing, cells=cells, claim=claim, came_s=now - request.waited_s,
            observe=observe, on_begin=on_begin, watch=watch,
        )  # fmt: skip
        self._requests |= together.by_id
        self._deadlines.add(together)
        self._together[together.id] = together
        self._admission.push(together.lead, claim)
        try:
            if request.waited_s:  # for longer than it could
                self._expire(now)
            self._admit(now)
        except BaseException:  # whoever submits it takes it for refused
            self.cancel(together.id)
            raise
        return together.id

    def turned_away(self) -> None:
        """Counts a request that was turned away before it was read: it is load too."""
        self._report.arrived(None)
        self._tally.arrived += 1
        self._admission.turned_away += 1
        self._display.changed()

    def cancel(self, request: RequestId) -> list[Outcome]:
        """Drops a request and frees its memory at once; its sink gets nothing more.

        Returns what its replies have cost so far that had not ended; of a race, all its thoughts.
        """
        gone = list(self._together.get(request, ()))
        for_each(partial(self._drop, served=False), gone)
        return [left(active, self._clock()) for active in all_begun(gone)]

    def end_thought(self, request: RequestId) -> bool:
        """Has a request's thoughts closed as soon as possible; returns False if it has no running thought."""
        return any([active.end_thought() for active in self._together.get(request, ())])

    def fail_running(self, error: str) -> None:
        """Ends every request that the engine has with an error: the engine has failed. Queued requests stay queued."""
        for active in list(self._in_engine):
            self._fail(active, error)

    def fail_all(self, error: str) -> None:
        """Ends every request with an error."""
        for active in list(self._requests.values()):
            self._fail(active, error)

    def tick(self) -> None:
        """Runs one engine step and makes the decisions that follow. A failure in one request ends only that request."""
        now = self._clock()
        self._report.begin(now, len(self._requests) - self._racing.beside)
        if self._ticked_s is not None:
            self._pace.stepped(now - self._ticked_s)
        self._ticked_s = now
        self._expire(now)
        self._racing.follow()
        self._admit(now)
        events = self._engine.step()
        self._steps += 1
        self._report.end(events, self._in_engine, now)
        for event in events:
            try:
                self._on_event(event, now)
            except Exception as error:
                self._broken(error, self._in_engine.get(event.sequence))
        for sequence in dict.fromkeys(event.sequence for event in events):
            try:
                self._after_step(sequence, now)
            except Exception as error:
                self._broken(error, self._in_engine.get(sequence))
        self._display.update(now, self._in_engine, self._steps)

    def idle(self) -> None:
        """Tells the observer that time has passed while nothing ran."""
        self._report.idle(self._clock(), len(self._requests) - self._racing.beside)

    # --- admission --------------------------------------------------------------------------------------------------

    def _make_way(self, claim: Claim, cells: int, patience_s: float | None) -> None:
        """Raises Overloaded if a new request must be turned away; in a full queue, may end a waiting one instead."""
        self._racing.make_room(cells)
        ages, held_up = self._in_engine.ages(self._steps)
        self._display.changed()
        fits = self._in_engine.fits(cells)
        way = self._admission.check(
            claim, ages, held_up=len(held_up), paused=self._in_engine.paused, fits=fits, patience_s=patience_s
        )
        if way is not None:
            lead, refusal = way
            for active in lead.together:
                self._end(active, FinishReason.ERROR, str(refusal), retry_after_s=refusal.retry_after_s)

    def _admit(self, now: float) -> None:
        """Hands queued requests to the engine in turn, as long as it has room.

        The replies to one request enter together, so that their prompt is prefilled once; what the engine has no room
        for yet waits there, before all that waits here.
        """
        while (lead := self._racing.next(self._turns, self._steps)) is not None:
            self._display.changed()
            try:
                for active in lead.together:
                    active.begin(self._steps)
                self._requests |= self._racing.begin(lead, self._steps).by_id
            except Exception as error:
                self._requests |= lead.together.by_id  # its rivals, too
                self._broken(error, *lead.together)
            for active in lead.together:
                try:
                    if active.id in self._requests:  # another's failure may have decided that it is not needed
                        self._begin(active, lead, now)
                except Exception as error:
                    self._broken(error, active)

    def _begin(self, active: ActiveRequest, lead: ActiveRequest, now: float) -> None:
        request = active.request
        landing: tuple[int, ...] = ()  # in the prompt
        self._pace.began(request.most_steps)
        if request.thinking:
            self._thoughts.begin(active)
            if (why := self._thoughts.close_reason(active, now)) is not None:  # the landing closes it in the prompt
                active.skip_thought(why)
                landing = active.landing
        alike = lead.put_before == active.put_before  # else the landing makes another prompt of it
        asked = self._thoughts.opening.for_engine(
            request, landing, banned=self._thoughts.bans(active),
            constraint=self._thoughts.hold(active) if landing or not request.thinking else None,
        )  # fmt: skip
        sequence = self._engine.submit(asked, like=lead.sequence if alike else None)
        self._in_engine.add(sequence, active)
        if landing:
            active.show_landing(self._thinking.ending(landing))

    def _expire(self, now: float) -> None:
        """Ends requests whose deadline has passed while they waited: no client would read their replies."""
        for active in self._deadlines.passed(now, self._requests.values()):
            waited = f"the deadline has passed after {now - active.submitted_s:.1f} s in the queue"
            if active.id in self._requests:  # the end of another of its race may have ended it
                self._end(active, FinishReason.ERROR, waited, expired=True)

    def _drop(self, active: ActiveRequest, *, served: bool) -> None:
        """Removes a request from the queue or the engine."""
        try:
            self._thoughts.left(active, served=served)
        except Exception:  # the policy's keeper is no reason to hold a request
            log.exception("what request %d was charged could not be settled", active.id)
        del self._requests[active.id]
        self._racing.left(active)
        self._display.changed()
        if (cost := active.together.leave(active)) is not None:  # the last of its request
            self._together.pop(active.together.id, None)
            if active.together.begun:
                self._admission.settle(active.claim, cost + active.deferred)  # what was not charged yet comes back
            else:
                self._admission.remove(lambda other: other.together is active.together)
        try:
            self._in_engine.cancel(active)
        finally:  # an engine that cannot end it is idle no less
            self._on_idle()

    def _on_idle(self) -> None:
        if not len(self._in_engine):
            self._ticked_s = None
            self._report.forget()
        if not self._requests:
            self._display.clear()

    # --- events of a step -------------------------------------------------------------------------------------------

    def _broken(self, error: Exception, *those: ActiveRequest | None) -> None:
        """Fails requests for which beginning or handling the step raised `error`, if they go on; all others go on."""
        log.exception("a request failed")
        for active in filter(None, those):
            self._fail(active, f"{type(error).__name__}: {error}")

    def _on_event(self, event: Event, now: float) -> None:
        """Handles one event of the step."""
        active = self._in_engine.get(event.sequence)
        if active is None:
            return  # ended by an earlier event of this step
        match event:
            case Started():
                active.start(now, self._steps - 1)
                active.tell_progress(now)
                self._display.changed()
            case Tokens() if active.unrecited:
                active.recite(event.tokens, event.log_probs)
                if not active.unrecited:
                    self._engine.constrain(event.sequence, None)
            case Tokens():
                if active.first_token_s is None:
                    active.speak(self._clock())
                self._on_tokens(active, event)
            case Probed():
                self._thoughts.on_probe(active, event)
            case Finished():
                self._end(active, active.ended_by(event.reason), event.error)

    def _after_step(self, sequence: SequenceId, now: float) -> None:
        if (active := self._in_engine.get(sequence)) is not None:
            active.tell_progress(now)
            self._thoughts.after_step(active, sequence, now)
            # a stop string in a thought in the open, or nothing can follow an answer, all tokens of which are reported
            if active.reply.stopped if active.thinking else active.held is not None and active.held.complete:
                self._end(active, FinishReason.STOP)

    def _on_tokens(self, active: ActiveRequest, event: Tokens) -> None:
        active.scores.come(event.tokens, event.log_probs)
        active.avert(event.averted)
        tokens = self._thoughts.take_thought(active, event.tokens) if active.thinking else event.tokens
        for place, token in enumerate(tokens, start=1):
            stop = self._thoughts.stops_at(active, token)
            active.answer(token, visible=not stop and not self._thoughts.hidden(active, token))
            if active.reply.stopped or stop or self._thoughts.ends(active, token):
                if event.forced:
                    active.leave_unsaid(len(tokens) - place)
                self._end(active, FinishReason.STOP)
                return
            if active.reply.answered and not active.armed:
                self._thoughts.arm(active)

    # --- end of a request -------------------------------------------------------------------------------------------

    def _fail(self, active: ActiveRequest, error: str) -> None:
        if active.id in self._requests:
            self._end(active, FinishReason.ERROR, error)

    def _end(
        self, active: ActiveRequest, reason: FinishReason, error: str | None = None, *, expired: bool = False,
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        if error is None:
            active.reply.finish()
        try:
            self._drop(active, served=error is None)
        finally:  # an engine that cannot end it is no reason to keep its client waiting
            if not self._racing.ended(active, reason, failed=error is not None):
                self._tell(active, reason, error, expired, retry_after_s)

    def _tell(
        self, active: ActiveRequest, reason: FinishReason, error: str | None = None, expired: bool = False,
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        """Tells the outcome of a request that has left, and what it has cost."""
        now = self._clock()
        if error is None:
            steps = self._steps - active.begun_step
            self._pace.finished(steps=steps, rows=active.rows, answer_tokens=active.answer_tokens)
        made = outcome(
            active, reason, now, error=error, expired=expired, retry_after_s=retry_after_s,
            reproducible=self._thoughts.reproduces(active) and not self._racing.may_join(active),
        )  # fmt: skip
        if active.race is not None:
            made = active.race.tell(active, made, now)
        if error is None and self._thoughts.limited_by_policy(active):
            self._report.finished(active)
        self._tally.end(active.owner, now, made)
        active.sink(made)
