"""The application's core: turns API requests into reasoning requests and runs them on the engine thread."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from controller.serving.admission import RETRY_S, Overloaded
from engine.base import CapacityError, EngineError
from laser.server.api.anthropic.request import CountTokensRequest, TokenCount
from laser.server.api.errors import (
    BadRequest,
    Busy,
    ContextTooLong,
    Forbidden,
    Unavailable,
    UnknownModel,
    UnknownReply,
    shown,
)
from laser.server.api.fields import GenerationFields, Slo
from laser.server.api.reports import (
    Controlled,
    ControlRequest,
    DetokenizeRequest,
    Health,
    ModelCard,
    QueueReport,
    Ready,
    TokenizeRequest,
    TurnReport,
    Version,
)
from laser.server.api.sampling.log_probs import Scoring
from laser.server.api.shape import ReplyHeader, ReplyShape, written
from laser.server.api.tools.reply import ToolReply
from laser.server.controller_report import ControllerReport
from laser.server.dashboard.history import StatusHistory
from laser.server.dashboard.monitor import Monitor
from laser.server.engine_process.served import Loaded, ServedModel
from laser.server.engine_process.tickets import EngineFailure
from laser.server.intake.bounds import TextBounds
from laser.server.intake.encoding import EncodingPool
from laser.server.intake.reader import BodyReader
from laser.server.intake.tokenizing import TOLD_BOUNDS, count_tokens, detokenize, tokenize
from laser.server.keys import ANYBODY, Caller
from laser.server.preparation import Preparation
from laser.server.submission import Submission, of_failure
from laser.server.telemetry.metrics import Metrics, watch_lag
from laser.server.telemetry.request_log import RequestLog
from laser.version import VERSION
from models.tools.reader import reader_of

SEEDS = 2**63
WRITES = 500.0  # per second, over all streams: each write takes interpreter time from the engine
AT_THE_DOOR = 32  # requests beyond max_batch that may always be on their way to the engine, however small max_waiting
COMPOSED = 3  # bytes of a text that a tokenizer's normalisation may merge into one: Hangul, by NFC, or wide letters
SAME = (("\u1100\u1161", "\uac00"), ("\uff21", "A"), ("a  b", "a b"))  # texts that a normalisation makes the same


class Service:
    """Serves one deployed model. Its methods run on the event loop."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        rng: random.Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._served = served = loaded.served
        self.config = served.config
        self._engine = loaded.connect(lambda outcome: self.metrics.left(outcome))
        self._room = served.room
        encode = served.chat.tokenizer.encode
        composed = COMPOSED if any(encode(one) == encode(other) for one, other in SAME) else 1
        longest = max(len(text.encode()) for text in served.chat.tokenizer.texts)  # bytes of a token
        # that are accepted at the door and not yet taken by the engine's thread
        self._most_arriving = self.config.engine_options.max_batch + max(AT_THE_DOOR, self.config.max_waiting)
        self._encoding = EncodingPool(waiting=self._most_arriving)
        self._preparation = Preparation(served)
        self.reader = BodyReader(TextBounds(tokens=self._room, token_bytes=longest * composed), TOLD_BOUNDS)
        self._rng = rng or random.Random()
        self._now = now
        self._started = int(now())
        self._draining = False
        self._arriving: Counter[str] = Counter()  # requests that are accepted and not yet in `_running`, by key
        self._running: dict[str, Submission] = {}
        self._idle = asyncio.Event()
        self._lag: asyncio.Task[None] | None = None
        self.metrics = Metrics.of(served, self._engine)
        history = StatusHistory.of(served, self._engine)
        self.monitor = Monitor(history, status=self._engine.status, controller=lambda: self.controller)

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def model_id(self) -> str:
        """The served model's name."""
        return self._served.model_id

    @property
    def served(self) -> ServedModel:
        """What is known of the served model."""
        return self._served

    def introduced(self, request: GenerationFields) -> ReplyHeader:
        """Returns the header of a reply that says nothing. Raises UnknownModel if another model is asked for."""
        if request.model is not None:
            self.check_name(request.model)
        return ReplyHeader(id="", created=int(self._now()), model=self.model_id)

    def check_name(self, name: str) -> None:
        """Raises UnknownModel unless clients may call the served model `name`."""
        if not self._served.goes_by(name):
            raise UnknownModel(name, [self.model_id, *self.config.alias])

    @property
    def model_card(self) -> ModelCard:
        """The served model's entry in the model list."""
        return ModelCard(
            id=self.model_id,
            created=self._started,
            created_at=written(self._started),
            display_name=self.model_id,
            max_model_len=self._room,
            context_length=self._room,
            capabilities=list(self._served.capabilities),
        )

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the model knows."""
        return len(self._served.chat.tokenizer.texts)

    @property
    def version(self) -> Version:
        """The version of LASER that serves."""
        return Version(version=VERSION)

    @property
    def health(self) -> Health:
        """Whether the engine can decode, and no step of it hangs."""
        engine = self._engine
        return Health(
            status="failed" if not engine.alive else "restarting" if engine.restarting else "ok",
            model=self.model_id, restarts=engine.restarts, trouble=engine.trouble,
        )  # fmt: skip

    @property
    def ready(self) -> Ready:
        """Whether requests are accepted."""
        if not self._engine.alive:
            return Ready(status="failed")
        if self._draining:
            return Ready(status="draining")
        return Ready(status="failing" if self._engine.failing else "ready")

    async def refresh(self) -> None:
        """Asks the engine for what the reports tell; if it does not answer soon, they tell what was known last."""
        await self._engine.refresh()

    @property
    def controller(self) -> ControllerReport:
        """The policy's report."""
        return self._engine.controller

    @property
    def arriving(self) -> int:
        """The number of requests that are accepted at the door and not yet taken by the engine's thread."""
        return self._arriving.total()

    @property
    def queue(self) -> QueueReport:
        """The queue's report."""
        state = self._engine.queue
        return QueueReport(
            running=state.running,
            waiting=state.waiting,
            max_waiting=self.config.max_waiting,
            drain_s=state.drain_s,
            turned_away=state.turned_away,
            requests=[TurnReport(id=name, position=turn.position, eta_s=turn.eta_s) for name, turn in state.turns],
        )

    # --- life cycle -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the engine thread and the monitor for the running event loop."""
        self._engine.start()
        self._lag = asyncio.create_task(watch_lag(self.metrics.lagged))
        self.monitor.start()

    async def broken(self) -> str:
        """Waits until the engine is broken, so that only a new process can serve; returns why."""
        return await self._engine.broken()

    async def drain(self) -> None:
        """Refuses new requests, and returns once all accepted ones, including queued ones, have ended."""
        self._draining = True
        self.monitor.end_streams()
        while self._arriving or self._running:
            self._idle.clear()
            await self._idle.wait()

    async def stop(self) -> None:
        """Ends the engine thread, the monitor and the policy's helpers; requests still in the engine fail."""
        self._draining = True
        self.monitor.close()
        if self._lag is not None:
            self._lag.cancel()
        self._encoding.close()
        await self.reader.close()
        await self._engine.stop()

    # --- requests ---------------------------------------------------------------------------------------------------

    async def submit(
        self,
        request: GenerationFields,
        shape: Callable[[ReplyHeader], ReplyShape],
        *,
        prefix: str,
        caller: Caller = ANYBODY,
        slo: Slo | None = None,
        log: RequestLog | None = None,
        size: int = 0,
    ) -> Submission:
        """Queues a request for a reply of this shape, whose id begins with `prefix`. Raises ApiError on refusal.

        `slo` None: no SLOs. `log` gets the reply's id and, at its end, how it ended; None: the request is not logged.
        `size`: bytes of the request's body, which decide where its prompt is encoded.
        """
        if self._draining:
            raise Unavailable("the server is shutting down")
        self._check_door(caller)
        self._arriving[caller.name] += 1  # before the first await, so that a drain waits for the request
        try:
            return await self._submit(request, shape, prefix, caller, slo or Slo(), log or RequestLog(), size)
        finally:
            self._arriving[caller.name] -= 1
            self._arriving += Counter()  # drops keys whose count is 0
            self._wake_drain()

    def _check_door(self, caller: Caller) -> None:
        """Raises Busy if as many requests are arriving as can run and wait, and this key has its share or more."""
        come = self._arriving.total()
        limit = self._most_arriving
        share = limit / len(self._arriving | Counter({caller.name: 1}))
        if come >= limit and self._arriving[caller.name] >= share:
            self._engine.turned_away()
            message = f"{come} requests have come at once and are not yet taken"
            behind_all = self.config.max_waiting + 1  # as many have come as fill the batch and the queue
            raise Busy(message, max(RETRY_S, self._engine.queue.wait_s(behind_all)))

    async def _submit(
        self,
        request: GenerationFields,
        shape: Callable[[ReplyHeader], ReplyShape],
        prefix: str,
        caller: Caller,
        slo: Slo,
        log: RequestLog,
        size: int,
    ) -> Submission:
        if request.model is not None:
            self.check_name(request.model)
        seed = self._rng.getrandbits(63) if request.seed is None or request.seed == -1 else request.seed
        name = f"{prefix}{uuid.uuid4().hex}"
        make = partial(self._preparation.request, request, seed % SEEDS, name, caller, slo)
        chat = self._served.chat
        reasoning, echo, scoring = await self._encoding.run(
            lambda: (make(), request.echoed(chat), self._scoring(request)), caller, size
        )
        try:
            streamed = request.streamed
            ticket = await self._engine.submit(
                reasoning, probes=request.wants_probes, progress=streamed, streamed=streamed
            )
        except CapacityError as error:
            raise ContextTooLong(str(error), param=request.limit_name) from error
        except EngineError as error:
            raise BadRequest(str(error)) from error
        except Overloaded as error:
            raise Busy(str(error), error.retry_after_s) from error
        except EngineFailure as error:
            raise of_failure(error, alive=self._engine.alive) from error
        identity = ReplyHeader(
            id=name,
            created=int(self._now()),
            model=self.model_id,
            difficulty=reasoning.difficulty,
            prompt_tokens=len(reasoning.prompt),
            shortened=request.limit is not None and reasoning.max_tokens < request.limit,
            answer=reasoning.answer,
            show_reasoning=request.policy.expose,
            show_usage=request.wants_usage,
            show_progress=request.wants_progress,
            plain=chat.thinking.format.plain,
            index=None if request.made_choices == 1 else 0,
            scoring=scoring,
            echo=echo,
            prompt=reasoning.prompt if reasoning.scores_prompt else (),
            offer=request.offer,
        )
        log.reply = name
        submission = Submission(
            identity=identity,
            caller=caller,
            shape=shape(identity),
            others=tuple(shape(replace(identity, index=choice)) for choice in range(1, request.made_choices)),
            sent=request.sent_choices,
            ticket=ticket,
            ended=partial(self.metrics.ended, streamed=request.streamed),
            abandoned=self.metrics.abandoned,
            closed=self._closed,
            turn_of=lambda name: self._engine.queue.turn(name),
            pause_s=lambda: len(self._running) / WRITES,
            tools=self._tools(request),
            log=log,
        )
        self._running[name] = submission
        return submission

    def _scoring(self, request: GenerationFields) -> Scoring | None:
        """Returns what tells how likely a reply's tokens were; None: it is not asked for."""
        if request.log_probs is None:
            return None
        return Scoring(self._served.chat.tokenizer.spellings, request.log_probs, ids=request.names_ids)

    def _tools(self, request: GenerationFields) -> tuple[ToolReply, ...]:
        """Returns what reads the calls of each choice; empty: no tool is offered."""
        offer, form = request.offer, self._served.chat.call_form if request.offer else None
        if offer is None or form is None:
            return ()
        eager = request.streamed
        return tuple(
            ToolReply(reader_of(form, offer.schemas, eager=eager), choice) for choice in range(request.made_choices)
        )

    async def control(self, request: ControlRequest, caller: Caller) -> Controlled:
        """Ends a running thought. Raises UnknownReply, or Forbidden unless the key is the reply's own or an admin's."""
        submission = self._running.get(request.id)
        if submission is None:
            raise UnknownReply(request.id)
        if not caller.admin and caller.name != submission.caller.name:
            raise Forbidden(f"{shown(request.id)} belongs to another key; that key, or an admin's, may end its thought")
        ended = await self._engine.end_thought(submission.ticket)
        return Controlled(id=request.id, action=request.action, ended=ended)

    async def tokenize(self, request: TokenizeRequest, caller: Caller, size: int) -> str:
        """Returns a report's JSON: the tokens of a text or a chat. `size`: bytes of the request's body."""
        chat = self._served.chat
        return await self._encoding.run(lambda: tokenize(chat, request, self._room).model_dump_json(), caller, size)

    async def count_tokens(self, request: CountTokensRequest, caller: Caller, size: int) -> TokenCount:
        """Returns how long a conversation is. `size`: bytes of the request's body. Raises ApiError on refusal."""
        if request.model is not None:
            self.check_name(request.model)
        return await self._encoding.run(lambda: count_tokens(self._served.chat, request), caller, size)

    async def detokenize(self, request: DetokenizeRequest, caller: Caller, size: int) -> str:
        """Returns a report's JSON: the text of tokens. `size`: bytes of the request's body."""
        chat = self._served.chat
        return await self._encoding.run(lambda: detokenize(chat, request).model_dump_json(), caller, size)

    def _closed(self, name: str) -> None:
        self._running.pop(name, None)
        self._wake_drain()

    def _wake_drain(self) -> None:
        if not (self._arriving or self._running):
            self._idle.set()
