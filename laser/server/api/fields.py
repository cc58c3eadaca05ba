"""Fields that requests for a reply share on every endpoint: sampling, stops, class, priority, deadlines and SLOs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from laser.server.api.base import INTEGER, Fields, RequestBody, Switch, encodable, integer
from laser.server.api.errors import BadRequest, shown
from laser.server.api.headers import RequestHeader
from laser.server.api.reasoning import ReasoningFields
from laser.server.api.sampling.fields import SamplingFields
from laser.server.api.structured.fields import StructuredFields
from laser.server.api.unread import refuse_others
from models.chat_model import ChatModel, Prompt
from models.kinds.kind import AnswerKind
from models.kinds.said import Words
from models.profile.difficulty import CLASSES, ClassName
from models.tools.offer import ToolOffer

MAX_STOPS = 4
OPENLY = '"laser": {"thinking": "open"} to have it reason in the content'

Stop = Annotated[str, Field(min_length=1)]
Stops = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None
Priority = Literal["high", "normal", "low"]
PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]  # OpenAI's service tiers
AnswerWord = Literal["short", "structured", "code", "open"]  # the values of AnswerKind
TIERS: dict[Tier, Priority] = {"priority": "high", "fast": "high", "flex": "low"}  # all others: normal


def _limit(given: object) -> object:
    """Returns a token limit; None for -1, with which other servers' clients say that they set none."""
    number = integer(given)
    return None if number == -1 and not isinstance(number, bool) else number


Count = Annotated[int, Field(ge=1, strict=True)]
Limit = Annotated[Count | None, BeforeValidator(_limit, json_schema_input_type=Literal[-1] | Count | None)]


LimitOrNothing = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | None, BeforeValidator(_limit, json_schema_input_type=int | None)
]


def _stops(stop: object) -> object:
    """Returns the stop strings as a tuple, empty for None. Raises ValueError if `stop` is no list of texts."""
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise ValueError(f"must be a text or a list of at most {MAX_STOPS} texts")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"has {len(stops)} texts, must be at most {MAX_STOPS}")
    if "" in stops:
        raise ValueError("has an empty text, each must have at least 1 character")
    return tuple(encodable(each) for each in stops)


StopTexts = Annotated[tuple[str, ...], BeforeValidator(_stops, json_schema_input_type=Stops)]


def _one(n: object) -> object:
    if n not in (None, 1) or isinstance(n, bool):
        raise ValueError(f"is {shown(n)}, must be 1: this format has room for one reply")
    return n


def _class(difficulty: object) -> object:
    """Returns the name of a difficulty class, or None. Raises ValueError if there is no such class."""
    if difficulty is not None and difficulty not in CLASSES:
        raise ValueError(f"is {shown(difficulty)}, must be one of {', '.join(map(repr, CLASSES))}")
    return difficulty


MOST_MS = 86_400_000  # a day
LEAST_MS: dict[RequestHeader, int | float] = {
    RequestHeader.SLO_DEADLINE: 1,
    RequestHeader.SLO_TTFT: 1,
    RequestHeader.SLO_TPOT: 0.001,  # of one token: small models take less than a millisecond
}


class LaserOptions(Fields):
    """What this server alone understands; a misspelt option is told, since no other server's could be meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # difficulty class; null: classified from the prompt
    difficulty: Annotated[str | None, BeforeValidator(_class, json_schema_input_type=ClassName | None)] = None
    # kind of the answer: only a `short` one may end its thought by a trial answer, which may then be the reply, in a
    # box; null: told from what is asked
    answer: AnswerWord | None = None
    early_exit: Switch | None = None  # false: the thought is not probed, so no confidence closes it
    # `open`: a model without markers reasons in its content, which may be cut for a short answer; null: as it is served
    thinking: Literal["open"] | None = None
    priority: Priority | None = None  # among the requests of the same key; null: as service_tier says
    probes: Switch | None = None  # true: a stream also reports every probe of its thought
    # true: a stream also reports how far its request is: its place in the queue and the time until its turn, its start,
    # the tokens that it has thought of its budget, and that it answers
    progress: Switch | None = None
    # confidence at which the thought is closed, in place of the policy's and whatever the load; 1: hardly ever
    threshold: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    # thinking tokens at which the thought is closed, in place of the policy's and whatever the load
    budget: Annotated[int, Field(ge=0, strict=True), INTEGER] | None = None
    # ms from arrival until the reply must be complete; the thought is cut in time; null: none
    deadline_ms: Annotated[int, Field(ge=1, le=MOST_MS, strict=True), INTEGER] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_others(cls, given: object) -> object:
        if isinstance(given, dict):
            refuse_others(given, cls.model_fields)
        return given


class StreamOptions(Fields):
    """What a stream carries besides the reply."""

    place: ClassVar[str] = "stream_options"

    include_usage: Switch | None = None  # true: one more chunk tells the usage


class GenerationFields(SamplingFields, ReasoningFields, StructuredFields, RequestBody, ABC):
    """A request for one reply."""

    model: str | None = None  # name of the served model; null: the served model
    stream: Switch | None = None  # true: the reply comes as server-sent events
    # texts that end the answer, at most 4; they are left out of it
    stop: StopTexts = ()
    # number of replies: 1
    n: Annotated[int | None, BeforeValidator(_one, json_schema_input_type=Literal[1] | None)] = None
    service_tier: Tier | None = None  # OpenAI's tier: `priority` and `fast` raise the priority, `flex` lowers it
    laser: LaserOptions | None = None  # options that this server alone understands

    @property
    @abstractmethod
    def limit(self) -> int | None:
        """The most tokens that thought and answer may have together; None: the client sets no limit."""

    @property
    @abstractmethod
    def limit_name(self) -> str:
        """The field that set the limit."""

    @property
    @abstractmethod
    def prompt_name(self) -> str:
        """The field that holds the prompt."""

    @property
    def log_probs(self) -> int | None:
        """The number of likeliest tokens to tell of each token; None: no log-probabilities are asked for."""
        return None

    @property
    def names_ids(self) -> bool:
        """Whether log-probabilities call tokens by their numbers."""
        return False

    @property
    def sent_choices(self) -> int:
        """The number of replies that the client gets."""
        return 1

    @property
    def made_choices(self) -> int:
        """The number of replies that are decoded, of which the best are sent."""
        return self.sent_choices

    @property
    def kept_log_probs(self) -> int | None:
        """As `log_probs`; 0 where none are asked for, but the replies that are sent are chosen by them."""
        return 0 if self.log_probs is None and self.made_choices > self.sent_choices else self.log_probs

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, if not that many replies can be made; `most` are at once."""

    def echoed(self, chat: ChatModel) -> str:
        """Returns the text with which the reply begins: what the prompt says, if the client wants it back."""
        return ""

    @property
    def scores_prompt(self) -> bool:
        """Whether the reply tells how likely the prompt's tokens were, too; then one token may follow, no thought."""
        return False

    @property
    def takes_less(self) -> bool:
        """Whether a limit that the context has no room for is read as all that it has; else it is refused."""
        return False

    @property
    def asks_for_nothing(self) -> bool:
        """Whether the request has no prompt, as a client sends it that wants the model to be loaded."""
        return False

    @property
    def streamed(self) -> bool:
        """Whether the reply comes as a stream."""
        return bool(self.stream)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return self.stop

    @property
    def wants_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return False

    @property
    def wants_probes(self) -> bool:
        """Whether the reply is a stream that also reports the probes of its thought."""
        return bool(self.streamed and self.laser is not None and self.laser.probes)

    @property
    def wants_progress(self) -> bool:
        """Whether the reply is a stream that also reports how far its request is."""
        return bool(self.streamed and self.laser is not None and self.laser.progress)

    @property
    def offer(self) -> ToolOffer | None:
        """The tools that the reply may call; None: it may call none."""
        return None

    def thought_wanted(self, chat: ChatModel) -> bool | None:
        """Whether the reply is to have a thought; None: the client has said nothing of it.

        Raises BadRequest, which names the field, if this model cannot do what is asked.
        """
        form = chat.thinking.format
        openly = self.laser is not None and self.laser.thinking == "open"
        if openly and not form.in_the_open:
            why = f"the model's thoughts stand between {form.open} and {form.closers[0]}, not in the content"
            raise BadRequest(f"laser.thinking is 'open', but {why}: leave it out", param="laser.thinking")
        if openly and self.wants_thought is False:
            why = "another field turns the thought off"
            raise BadRequest(f"laser.thinking is 'open', but {why}: must be one of them", param="laser.thinking")
        if openly and self.answer not in (None, AnswerKind.SHORT):
            why = "laser.thinking 'open' is for short answers: must be one of them"
            raise BadRequest(f"laser.answer is {shown(self.answer)}, but {why}", param="laser.answer")
        field = self.asks_for_thought
        if field is not None and form.plain and not openly:
            why = "this model is served plain, without thoughts"
            raise BadRequest(f"{field} asks for a thought, but {why}: leave it out, or send {OPENLY}", param=field)
        if form.plain and not openly:
            return False
        if form.in_the_open and (grammar := self.asked_grammar()) is not None:
            asking = "laser.thinking" if openly else field
            if asking is not None:
                why = f"a thought in the open is part of the content, which {grammar.asked_by} holds"
                raise BadRequest(f"{asking} asks for a thought, but {why}: must be one of them", param=asking)
            return False
        return True if openly and self.wants_thought is None else self.wants_thought

    @abstractmethod
    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        """Returns the prompt's tokens, and what they say of the thought of the reply.

        Raises TokenizerError if the prompt cannot be rendered.
        """

    @property
    def answer(self) -> AnswerKind | None:
        """The kind of answer that the fields want; None: they do not say it."""
        if self.laser is not None and self.laser.answer is not None:
            return AnswerKind(self.laser.answer)
        if self.laser is not None and self.laser.thinking is not None:
            return AnswerKind.SHORT
        return None if self.offer is None else AnswerKind.STRUCTURED

    @property
    def said(self) -> Words | None:
        """What the request says in words, by which its kind of answer is told; None: its prompt alone tells."""
        return None

    @property
    def difficulty(self) -> str | None:
        """The difficulty class that the client states; None: it states none."""
        return None if self.laser is None else self.laser.difficulty

    @property
    def priority(self) -> int:
        """The request's rank among the requests of its key; lower ranks start earlier."""
        stated = None if self.laser is None else self.laser.priority
        tier = None if self.service_tier is None else TIERS.get(self.service_tier)
        return PRIORITIES[stated or tier or "normal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service level objectives of one request; None: not stated."""

    ttft_s: float | None = None  # to the first token: a request that would wait longer is turned away at once
    tpot_s: float | None = None  # for each further token; used only together with ttft_s
    deadline_s: float | None = None  # to the last token: the thought is cut in time for the answer

    def by_s(self, reply_tokens: int, deadline_ms: int | None) -> float | None:
        """Returns the reply's deadline, s from arrival: the least of deadline_s, deadline_ms and ttft + tpot · tokens.

        None: none of them is stated. A TPOT alone sets no deadline: deadlines count from the arrival, and the wait for
        the first token is unknown.
        """
        paced_s = None if self.ttft_s is None or self.tpot_s is None else self.ttft_s + self.tpot_s * reply_tokens
        stated_s = None if deadline_ms is None else deadline_ms / 1e3
        return min((limit for limit in (self.deadline_s, stated_s, paced_s) if limit is not None), default=None)


def read_slo(headers: Mapping[str, str]) -> Slo:
    """Reads the SLOs in a request's headers. Raises BadRequest, naming the header, if a value is out of range."""
    return Slo(
        ttft_s=_seconds(headers, RequestHeader.SLO_TTFT),
        tpot_s=_seconds(headers, RequestHeader.SLO_TPOT),
        deadline_s=_seconds(headers, RequestHeader.SLO_DEADLINE),
    )


def _seconds(headers: Mapping[str, str], name: RequestHeader) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = 0.0
    if not LEAST_MS[name] <= milliseconds <= MOST_MS:
        limits = f"at least {LEAST_MS[name]} and at most {MOST_MS}"
        raise BadRequest(f"{name} is {shown(given)}, must be a number of {limits}", param=name)
    return milliseconds / 1e3
