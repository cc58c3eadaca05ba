"""What an API surface is, and how it encodes a reply for a client: whole, or as the events of a stream."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, Field

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, ExitReason, Outcome, Thought
from engine.base import FinishReason
from laser.server.api.errors import ApiError, Busy, DeadlineMissed, ErrorReply, ServerFailure, Unavailable, openai_body
from laser.server.api.fields import AnswerWord, GenerationFields
from laser.server.api.sampling.log_probs import Scoring
from laser.server.api.streams.notices import ProbeNotice, ProgressNotice
from laser.server.api.tools.reply import CallDelta
from laser.server.engine_process.messages import SHUTTING_DOWN
from models.kinds.kind import AnswerKind
from models.profile.difficulty import ClassName
from models.tools.offer import ToolOffer

ExitWord = Annotated[
    str, Field(json_schema_extra={"examples": [*ExitReason, "plain"]})
]  # exit signals of one's own add words
PLAIN = "plain"  # in place of an exit reason: the model is served without thoughts
DONE = b"data: [DONE]\n\n"
Scores = Mapping[Channel, Sequence[TokenScore]]
NO_SCORES: Scores = {}  # nobody asks how likely the tokens were
LINE_ENDS = "\x85\u2028\u2029"  # no line ends in JSON and event streams, but many clients split lines there


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyHeader:
    """A reply's identity, and which parts of the reply the client sees."""

    id: str
    created: int  # s since 1970
    model: str
    difficulty: str | None = None
    prompt_tokens: int = 0  # what the client sent, in the chat template
    shortened: bool = False  # the context has less room than the client's limit
    answer: AnswerKind = AnswerKind.OPEN
    show_reasoning: bool = True
    show_usage: bool = False  # in a stream
    show_progress: bool = False  # in a stream
    plain: bool = False  # the model is served without thoughts
    index: int | None = None  # place of the choice among several to one request; None: it is the only one
    scoring: Scoring | None = None  # tells how likely the tokens were; None: it is not asked for
    echo: str = ""  # with which the text begins
    prompt: tuple[int, ...] = ()  # its tokens, where the reply tells how likely they were
    offer: ToolOffer | None = None  # the tools that the reply may call; None: it may call none


class ReplyShape(Protocol):
    """Encodes one reply in an endpoint's format."""

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> BaseModel:
        """Returns the whole reply; `scores` come where they are asked for. Raises ApiError if the request failed."""

    def opening(self) -> bytes:
        """Returns a stream's first events."""

    def piece(self, delta: Delta) -> bytes:
        """Encodes a piece of thought or answer; empty if the client does not want it."""

    def called(self, call: CallDelta) -> bytes:
        """Encodes a piece of a tool call, for requests that offer tools; a whole reply's outcome has the calls."""

    def probed(self, checkpoint: Checkpoint) -> bytes:
        """Encodes the result of a probe of the running thought, for clients that asked for probes."""

    def progressed(self, notice: ProgressNotice) -> bytes:
        """Encodes how far the request is, for clients that asked for progress."""

    def closing(self, outcome: Outcome) -> bytes:
        """Returns a stream's last events. Raises ApiError if the request failed."""

    def failure(self, error: ApiError) -> bytes:
        """Returns the last events of a stream that `error` ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How the pieces of a stream stand on the wire, and what is sent while there is nothing to say."""

    media_type: str
    ping: bytes  # a sign of life, which clients skip
    comments: bool = True  # clients skip the comments of server-sent events, too


EVENTS = Framing(media_type="text/event-stream", ping=b": ping\n\n")
LINES = Framing(media_type="application/x-ndjson", ping=b" ", comments=False)  # JSON may have blanks before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """An endpoint that replies: what it reads, what it sends, and how it says that something was wrong."""

    path: str
    name: str  # of the operation in /openapi.json
    description: str
    request: type[GenerationFields]
    reply: type[BaseModel]  # the whole reply
    shape: Callable[[ReplyHeader], ReplyShape]
    prefix: str  # of the replies' ids
    framing: Framing = EVENTS  # of its streams
    nothing: Callable[[ReplyHeader], BaseModel] | None = None  # replies to who asks for nothing; None: nobody may
    error_body: Callable[[ApiError], dict[str, Any]] = openai_body  # an error's JSON, unless a stream has begun
    error_model: type[BaseModel] = ErrorReply  # the same, for /openapi.json


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """Encodes one server-sent event; `name` None: an event without a name."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + event_data(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def event_data(text: str) -> bytes:
    """Encodes one line of JSON as the data of an event, and ends the event."""
    return b"data: " + on_one_line(text).encode() + b"\n\n"


def on_one_line(text: str) -> str:
    """Returns JSON without characters at which clients split lines."""
    for character in LINE_ENDS:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def written(time_s: int) -> str:
    """Returns a time, s since 1970, as RFC 3339 has it."""
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


def usage(*outcomes: Outcome) -> Usage:
    """Returns what the client has sent and the model has decoded for it, in tokens; words of the server are neither.

    Thoughts that have lost a race were decoded for it, too.

    `outcomes`: of all replies to the request, whose prompt counts once.
    """
    sent = sum(each.sent_tokens for each in outcomes)
    decoded = sum(each.generated_tokens for each in outcomes)
    return Usage(
        prompt_tokens=sent,
        completion_tokens=decoded,
        total_tokens=sent + decoded,
        completion_tokens_details=TokenDetails(
            reasoning_tokens=sum(each.thought.tokens for each in outcomes),
            probe_tokens=sum(each.thought.probe_rows for each in outcomes),
        ),
    )


def finish_word(outcome: Outcome) -> FinishWord:
    """Returns OpenAI's word for why the reply ended. Raises ApiError if the request failed."""
    match outcome.finish_reason:
        case FinishReason.STOP:
            return "tool_calls" if outcome.calls else "stop"
        case FinishReason.LENGTH:
            return "length"
        case FinishReason.ERROR:
            if outcome.expired:
                raise DeadlineMissed(outcome.error or "the deadline has passed")
            if outcome.retry_after_s is not None:
                raise Busy(outcome.error or "the server is busy", outcome.retry_after_s)
            if outcome.error == SHUTTING_DOWN:
                raise Unavailable(SHUTTING_DOWN)
            raise ServerFailure(outcome.error or "the engine failed on this request; it may be sent again")


def details(identity: ReplyHeader, outcome: Outcome) -> LaserDetails:
    """Returns the `laser` object of a reply: how its thought went, and its times."""
    thought = outcome.thought
    without = PLAIN if identity.plain else None
    return LaserDetails(
        exit_reason=without if thought.exit_reason is None else str(thought.exit_reason),
        threshold=thought.threshold,
        confidence=_rounded(thought),
        difficulty=identity.difficulty,
        answer=identity.answer.value,
        budget=thought.budget,
        reasoning_tokens=thought.tokens,
        probes=thought.probes,
        probe_tokens=thought.probe_rows,
        withdrawn_tokens=thought.withdrawn_tokens,
        forced_tokens=outcome.put_in,
        width=outcome.width,
        raced_tokens=outcome.raced_tokens,
        raced_rows=outcome.raced_rows,
        reproducible=outcome.reproducible,
        queue_ms=round(outcome.queue_s * 1e3, 3),
        ttft_ms=None if outcome.ttft_s is None else round(outcome.ttft_s * 1e3, 3),
        total_ms=round(outcome.total_s * 1e3, 3),
    )


def _rounded(thought: Thought) -> float | None:
    return None if thought.confidence is None else round(thought.confidence, 6)


class TokenDetails(BaseModel):
    """Tokens of the thought, and token rows that probing it has cost (these are no part of completion_tokens)."""

    reasoning_tokens: int  # length of the thought
    probe_tokens: int  # token rows that probes cost; those of a probe that became the answer are forced ones


class Usage(BaseModel):
    """What the client has sent and the model has decoded for it, in tokens."""

    prompt_tokens: int  # what the client sent, in the chat template
    # what the model decoded for the reply: thought, markers and answer, and the thoughts that have lost a race for it
    completion_tokens: int
    total_tokens: int  # the sum of both
    completion_tokens_details: TokenDetails  # of the completion's tokens


class LaserDetails(BaseModel):
    """How the thought went and why it ended; `exit_reason` is null where there was none."""

    # why the thought ended, an exit reason or the word of an exit signal of one's own; `plain`: the model is served
    # without thoughts; null: there was no thought
    exit_reason: ExitWord | None
    threshold: float | None  # confidence in force when the thought ended; null: the thought was not probed
    confidence: float | None  # of the trial answer that became the reply's, else of the last one; null: there was none
    difficulty: ClassName | None  # difficulty class; null: unknown
    answer: AnswerWord  # kind of answer that the request was taken to want; only `short` ones are tried by probes
    budget: int | None  # thinking tokens in force when the thought ended; null: no budget
    reasoning_tokens: int  # length of the thought
    probes: int  # number of probes of the thought
    probe_tokens: int  # token rows that the probes cost; those of a probe that became the answer are forced ones
    withdrawn_tokens: int  # decoded beside a probe that was then adopted, and dropped
    forced_tokens: int  # words of the server's in the reply
    width: int = 1  # thoughts of the prompt that raced for the reply, where places were idle; 1: it had one alone
    raced_tokens: int = 0  # decoded for thoughts that lost the race; they count among the completion's tokens
    raced_rows: int = 0  # token rows of those thoughts: those tokens, words of the server's, withdrawn tokens, probes
    # whether the same request with the same seed gets the same reply, whatever else the server does: false where the
    # engine's arithmetic depends on what is decoded beside it, or the end of the thought on load or time,
    # or thoughts may race for such a request
    reproducible: bool
    queue_ms: float  # time until the request began
    ttft_ms: float | None  # time until the first token; null: there was none
    total_ms: float  # time until the last token


FinishWord = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Chunks(ABC):
    """What chunked streams share of `laser.server.api.shape.ReplyShape`: the chunk's format, closing and failure."""

    OBJECT: ClassVar[str]  # a chunk's field `object`
    NOTHING: ClassVar[dict[str, str]]  # the last chunk's content

    identity: ReplyHeader

    @abstractmethod
    def _choice(self, said: dict[str, Any]) -> dict[str, Any]:
        """Returns the fields of a choice that carry `said`."""

    @abstractmethod
    def _scored(self, scores: Scores) -> BaseModel | None:
        """Returns how likely tokens were; None: it is not asked for."""

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return self._notice("probe", ProbeNotice.of(checkpoint, self.identity.index))

    def progressed(self, notice: ProgressNotice) -> bytes:
        return self._notice("progress", notice)

    def closing(self, outcome: Outcome) -> bytes:
        return self.ending(outcome) + self.summary([outcome])

    def ending(self, outcome: Outcome) -> bytes:
        """Returns the last chunk of this choice. Raises ApiError if the request failed."""
        laser = details(self.identity, outcome).model_dump()
        return self._chunk(self.NOTHING, finish_word(outcome), laser=laser)

    def summary(self, outcomes: Sequence[Outcome]) -> bytes:
        """Returns what ends a stream behind the last chunks of all choices, which have these `outcomes`."""
        if not self.identity.show_usage:
            return DONE
        return event({**self._head(), "choices": [], "usage": usage(*outcomes).model_dump()}) + DONE

    def failure(self, error: ApiError) -> bytes:
        return event(openai_body(error)) + DONE

    def _chunk(
        self, said: dict[str, Any], finish: FinishWord | None = None, scores: Scores = NO_SCORES, **more: Any
    ) -> bytes:
        scored = self._scored(scores) if scores else None
        choice = {
            "index": self.identity.index or 0,
            **self._choice(said),
            "logprobs": None if scored is None else scored.model_dump(),
            "finish_reason": finish,
        }
        if self.identity.show_usage:
            more["usage"] = None
        return event({**self._head(), "choices": [choice], **more})

    def _notice(self, kind: str, notice: BaseModel) -> bytes:
        return event({**self._head(), "choices": [], "laser": {kind: notice.model_dump()}})

    def _head(self) -> dict[str, Any]:
        identity = self.identity
        return {"id": identity.id, "object": self.OBJECT, "created": identity.created, "model": identity.model}


def gathered(replies: Sequence[Any], outcomes: Sequence[Outcome]) -> BaseModel:
    """Returns the whole replies of several choices as one; `outcomes`: of all that were decoded for it."""
    choices = [
        choice.model_copy(update={"index": place, "laser": reply.laser})
        for place, reply in enumerate(replies)
        for choice in reply.choices
    ]
    first: BaseModel = replies[0]
    return first.model_copy(update={"choices": choices, "usage": usage(*outcomes)})
