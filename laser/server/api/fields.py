"""What every request for a reply may say, whatever its endpoint: how to draw, when to stop, for whom and how soon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from laser.server.api.base import INTEGER, Fields, Switch, encodable
from laser.server.api.errors import BadRequest
from laser.server.api.reasoning import ReasoningFields
from models.chat_model import ChatModel
from models.profile.difficulty import CLASSES

MAX_STOPS = 4

Count = Annotated[int, Field(ge=1, strict=True), INTEGER]
Stop = Annotated[str, Field(min_length=1)]
Stops = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None
Class = Annotated[str, Field(json_schema_extra={"enum": list(CLASSES)})]
Priority = Literal["high", "normal", "low"]
PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
TIERS: dict[str, Priority] = {"priority": "high", "flex": "low"}  # OpenAI's service tiers; the others: normal


def _stops(stop: object) -> object:
    """The stop strings as a tuple."""
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


def _one(n: object) -> object:
    if n not in (None, 1) or isinstance(n, bool):
        raise ValueError(f"is {n!r}, must be 1: one answer is made per request")
    return n


def _class(difficulty: object) -> object:
    """A difficulty class by its name."""
    if difficulty is not None and difficulty not in CLASSES:
        raise ValueError(f"is {difficulty!r}, must be one of {', '.join(map(repr, CLASSES))}")
    return difficulty


class LaserOptions(Fields):
    """What this server alone understands; a misspelt option is told, since no other server's could be meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # its class; null: told from the prompt
    difficulty: Annotated[str | None, BeforeValidator(_class, json_schema_input_type=Class | None)] = None
    early_exit: Switch | None = None  # false: the thought is not probed, confidence does not close it
    priority: Priority | None = None  # among the requests of the same key
    probes: Switch | None = None  # a chat's stream tells of every probe of its thought, too
    # by when the reply is to be complete; the thought is cut in time
    deadline_ms: Annotated[int, Field(ge=1, le=MOST_MS, strict=True), INTEGER] | None = None


class StreamOptions(Fields):
    """What a stream carries besides the reply."""

    include_usage: Switch | None = None


class GenerationFields(ReasoningFields, ABC):
    """A request for one reply."""

    model: str | None = None
    stream: Switch | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    top_k: Annotated[int, Field(ge=-1, strict=True), INTEGER] | None = None  # 0 and -1: all
    seed: Annotated[int, Field(strict=True), INTEGER] | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops, json_schema_input_type=Stops)] = ()
    n: Annotated[int | None, BeforeValidator(_one, json_schema_input_type=Literal[1] | None)] = None
    service_tier: str | None = None
    laser: LaserOptions | None = None

    @property
    @abstractmethod
    def limit(self) -> int | None:
        """The most tokens that thought and answer may have together."""

    @property
    @abstractmethod
    def limit_name(self) -> str:
        """The field that set the limit."""

    @property
    @abstractmethod
    def prompt_name(self) -> str:
        """The field that holds the prompt."""

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the usage."""
        return False

    @property
    def wants_probes(self) -> bool:
        """Whether a stream is to tell of the probes of its thought."""
        return False

    @property
    def certain_bytes(self) -> int:
        """Bytes of text that are in the prompt for certain, whatever becomes of the rest."""
        return 0

    @abstractmethod
    def prompt_tokens(self, chat: ChatModel) -> tuple[tuple[int, ...], bool]:
        """The prompt, and whether it ends inside an open thought. Raises TokenizerError where it cannot be rendered."""

    @property
    def difficulty(self) -> str | None:
        """The difficulty class that the client states."""
        return None if self.laser is None else self.laser.difficulty

    @property
    def priority(self) -> int:
        """Its rank among its key's requests; lower is earlier."""
        stated = None if self.laser is None else self.laser.priority
        tier = None if self.service_tier is None else TIERS.get(self.service_tier)
        return PRIORITIES[stated or tier or "normal"]


MOST_MS = 86_400_000  # a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service level objectives of one request; None: not stated."""

    ttft_s: float | None = None  # to the first token: one that would wait longer is turned away at once
    tpot_s: float | None = None  # for each further token; counts beside a ttft only
    deadline_s: float | None = None  # to the last token: the thought is cut in time for the answer

    def by_s(self, reply_tokens: int, deadline_ms: int | None) -> float | None:
        """By when the reply is to be complete: the earliest of the deadlines stated, and what ttft and tpot come to.

        A tpot alone bounds nothing: a deadline counts from the arrival on, and the wait for the first token is unknown.
        """
        paced_s = None if self.ttft_s is None or self.tpot_s is None else self.ttft_s + self.tpot_s * reply_tokens
        stated_s = None if deadline_ms is None else deadline_ms / 1e3
        return min((limit for limit in (self.deadline_s, stated_s, paced_s) if limit is not None), default=None)


def read_slo(headers: Mapping[str, str]) -> Slo:
    """The objectives in a request's headers. Raises BadRequest, naming the header."""
    return Slo(
        ttft_s=_seconds(headers, "x-slo-ttft-ms"),
        tpot_s=_seconds(headers, "x-slo-tpot-ms"),
        deadline_s=_seconds(headers, "x-slo-deadline-ms"),
    )


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = 0.0
    if not 0.0 < milliseconds <= MOST_MS:
        raise BadRequest(f"{name} is {given!r}, must be a number above 0 and at most {MOST_MS}", param=name)
    return milliseconds / 1e3
