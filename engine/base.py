"""The engine protocol: the calls by which the serving loop drives any decoder, and the values they exchange.

    submit → step → events (Started, Tokens, Probed, Finished)     a sequence's life
    fork → Probed → adopt · drop                                   get a running sequence's trial answer, maybe keep it
    force · arm_stops · ban · constrain · cancel · load            steer it
    pause · resume                                                 let others run in its place

Errors

    EngineError
    ├── UnsupportedModelError   the model cannot be decoded correctly by this engine
    ├── CorruptModelError       the model's files are missing or damaged
    ├── EngineUnavailableError  this machine lacks what the engine needs
    ├── EngineBrokenError       the engine can serve no call any more; only a new process can
    ├── UnsupportedError        the engine lacks what the call needs, see `Engine.capabilities`
    ├── CapacityError           the request can never fit, or the call would overrun what was reserved for it
    ├── TokenError              the model does not have the token id
    └── SequenceError           the sequence or probe is unknown, or is not in a state that allows the call
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, Protocol, TypeAlias

from engine.constraint import Constraint
from engine.sampling.settings import GREEDY
from engine.sampling.settings import Sampling as Sampling
from models.errors import LaserError
from models.score import Score

SequenceId = NewType("SequenceId", int)
ProbeId = NewType("ProbeId", int)

MARGIN = "margin"  # raw log p(likeliest) − log p(ProbeSpec.watched) for the answer's first token
READINGS = frozenset({MARGIN})  # all that a probe can read besides its answer, by name
MOST_LIKELIEST = 128  # tokens told beside each sampled one


class EngineError(LaserError):
    """Base class of the errors that engines raise."""


class UnsupportedModelError(EngineError):
    """The engine would decode the model wrongly, so the model is not loaded."""


class CorruptModelError(EngineError):
    """The model's files are missing, unreadable or do not fit its configuration."""


class EngineUnavailableError(EngineError):
    """This machine lacks what the engine needs."""


class CapacityError(EngineError):
    """The call needs more than the engine can hold or the sequence has reserved."""


class EngineBrokenError(EngineError):
    """The engine can serve no call any more; only a new process can."""


class UnsupportedError(EngineError):
    """The engine lacks what the call needs; see `Engine.capabilities`."""


class TokenError(EngineError):
    """The model does not have the token id."""


class SequenceError(EngineError):
    """The sequence or probe is unknown or not in the state that the call needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sequence to decode.

    `max_new_tokens` counts sampled, forced and adopted tokens alike. While `stops_armed` is False, stop tokens cannot
    be sampled; `Engine.arm_stops` allows them. `banned` tokens cannot be sampled either; `Engine.ban` changes them.
    `constraint` holds what is sampled to its masks; `Engine.constrain` changes it. Where a mask leaves nothing else,
    it wins over bans, then over unarmed stops. `probe_room` is the largest allowed `ProbeSpec.room`, tokens.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = GREEDY
    stop_tokens: frozenset[int] = frozenset()
    stops_armed: bool = True
    banned: frozenset[int] = frozenset()
    probe_room: int = 0
    constraint: Constraint | None = None  # None: any token
    log_probs: int | None = None  # k: tell each token's log probability and the k likeliest; None: tell none

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("the prompt has 0 tokens, needs at least 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}, must be at least 1")
        if self.log_probs is not None and not 0 <= self.log_probs <= MOST_LIKELIEST:
            raise ValueError(f"log_probs is {self.log_probs}, must lie in 0…{MOST_LIKELIEST}")
        if self.probe_room < 0:
            raise ValueError(f"probe_room is {self.probe_room}, must be at least 0")

    @property
    def cells(self) -> int:
        """The cells of KV cache that it may need: prompt, new tokens and probe room."""
        return len(self.prompt) + self.max_new_tokens + self.probe_room


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A trial answer: the suffix is forced onto a fork of the sequence, then the answer is decoded greedily.

    The answer ends before a token of `answer_stops` (its terminator) or at `max_answer_tokens`. The probe gives up as
    soon as its confidence can no longer reach `give_up_below`: this never changes on which side of that threshold the
    confidence falls. To learn what follows the fork itself, fork with `back` one larger and the last token as suffix.

    `read` names what else the probe measures, of READINGS; `Probed.readings` has the values. Under a `constraint` the
    answer's tokens are the likeliest of those that a copy of it allows, and it ends, too, where nothing can follow; log
    probabilities and confidence stay those of all tokens.
    """

    suffix: tuple[int, ...]
    max_answer_tokens: int
    answer_stops: frozenset[int]
    score: Score = Score.GEOMETRIC_MEAN
    give_up_below: float = 0.0
    read: frozenset[str] = frozenset()
    watched: int | None = None  # token that the reading MARGIN compares with the likeliest; None: MARGIN is not read
    constraint: Constraint | None = None  # it has taken the suffix; None: any token

    def __post_init__(self) -> None:
        if not self.suffix:
            raise ValueError("the probe's suffix has 0 tokens, needs at least 1")
        if self.max_answer_tokens < 1:
            raise ValueError(f"max_answer_tokens is {self.max_answer_tokens}, must be at least 1")
        check_readings(self.read)
        if (MARGIN in self.read) != (self.watched is not None):
            raise ValueError(f"watched is {self.watched} and read has {_listed(self.read)}: {MARGIN} reads a token")

    @property
    def room(self) -> int:
        """The most tokens that the probe's path can hold: suffix, answer and terminator."""
        return len(self.suffix) + self.max_answer_tokens + 1

    def hopeless(self, log_probs: Sequence[float]) -> bool:
        """Whether an unfinished answer that begins with these `log_probs` can no longer reach `give_up_below`."""
        if not len(log_probs) < self.max_answer_tokens:
            return False
        return self.score.upper_bound(log_probs, self.max_answer_tokens) < self.give_up_below

    def gives_up(self, log_probs: Sequence[float]) -> int | None:
        """The number of answer tokens after which the probe gives up, given `log_probs`; None: it never gives up."""
        if not self.give_up_below > 0.0:
            return None
        return next((m for m in range(1, len(log_probs) + 1) if self.hopeless(log_probs[:m])), None)


def check_readings(read: frozenset[str]) -> None:
    """Raises ValueError if no probe can read one of these."""
    if not read <= READINGS:
        raise ValueError(f"read has {_listed(read - READINGS)}, must be of {_listed(READINGS)}")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The sequence left the queue: its memory is reserved and its prefill begins."""

    sequence: SequenceId


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogProbs:
    """How likely a token was: raw softmax of the model's logits at temperature 1, before penalties, masks and bans."""

    log_prob: float
    likeliest: tuple[tuple[int, float], ...] = ()  # tokens and log probabilities, falling; of two alike the lower token


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The sequence grew by `tokens`, at least one; every token is reported exactly once and in order."""

    sequence: SequenceId
    tokens: tuple[int, ...]
    forced: bool = False  # not sampled by the sequence itself: forced or adopted
    averted: int = 0  # of `tokens`, those in whose place the model chose a banned token
    # of each of `tokens`, if the request asks for them, else (); None: unknown, since it was forced, by itself or as a
    # probe's suffix: to know it would cost the head's arithmetic. A probe's answer has them
    log_probs: tuple[TokenLogProbs | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe has ended. The caller adopts it before the next step, or it lapses.

    It is its sequence's last event of the step. `rows` counts the token rows that the probe cost.
    """

    sequence: SequenceId
    probe: ProbeId
    answer: tuple[int, ...]
    terminator: int | None  # None: the answer ended without one
    log_probs: tuple[float, ...]  # of the answer's tokens, raw softmax at temperature 1
    confidence: float
    gave_up: bool
    rows: int
    repeated: int = 0  # of `rows`: of the sequence's newest token, which some engines decode again for a probe
    readings: Mapping[str, float] = field(default_factory=dict)  # what `ProbeSpec.read` asked for, by name
    complete: bool = False  # whether the answer is whole by its constraint, so that nothing can follow


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"  # it sampled one of its stop tokens
    LENGTH = "length"  # max_new_tokens reached
    ERROR = "error"  # the server failed to serve it; the request may be submitted again


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The sequence has ended by itself and its memory is free; a probe still running on it ends without an event."""

    sequence: SequenceId
    reason: FinishReason
    error: str | None = None  # what went wrong with it alone; None: nothing


Event: TypeAlias = Started | Tokens | Probed | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """Exact counts of what the engine holds now; cells are tokens of KV cache."""

    running: int  # sequences that are decoded
    waiting: int  # sequences that wait for memory or a place in the batch
    probing: int  # probes that are decoded
    cells_reserved: int  # cells of the KV cache that sequences hold
    cells_total: int  # cells of the KV cache
    paused: int = 0  # sequences that keep their cells and are not decoded, neither running nor waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do beyond what all engines do; what it cannot is refused by name."""

    engine: str  # the engine's name in messages
    sampling: bool = True  # temperatures above 0, penalties and biases
    log_probabilities: bool = True  # those of `Probed` are the model's own
    trim: bool = True  # a probe may fork before the newest token: `back` above 0
    masks: bool = False  # a caller may ban tokens: `Request.banned` and `Engine.ban`
    constraints: bool = False  # tokens may be held to a constraint: `Engine.constrain` and `ProbeSpec.constraint`
    token_log_probs: bool = False  # a caller may ask for the log probabilities of tokens: `Request.log_probs`
    hidden_states: bool = False  # a caller may read a layer's output at a place
    batch_invariant: bool = False  # a row's logits are the same to the last bit whatever is beside it
    drafts: bool = False  # several tokens are proposed and checked in one pass
    pausing: bool = False  # a sequence may keep its memory and leave its place in the batch: `Engine.pause`
    most_paused: int | None = None  # sequences that may be paused while others begin; None: as many as memory holds
    growing: bool = False  # sequences take cells as they grow; else, from their start, all that they may need
    # rows that probes may cost for each token of a thought, so that they take little of its time; None: any
    probe_rows: float | None = None
    # what an option keeps the engine from, by the capability's name: the option and its value, as messages tell it
    kept_by: Mapping[str, str] = field(default_factory=dict, hash=False)

    def need(self, name: str, why: str) -> None:
        """Raises UnsupportedError, which tells `why` the capability `name` is needed, if the engine lacks it."""
        if not getattr(self, name):
            raise UnsupportedError(lacking(self.engine, name, why, self.kept_by.get(name)))


NAMES = {
    "log_probabilities": "log probabilities",
    "masks": "token masks",
    "token_log_probs": "log probabilities of tokens",
    "hidden_states": "hidden states",
    "batch_invariant": "batch invariance",
    "pausing": "pauses",
}
"""How messages call the capabilities whose name is not a word."""


NEEDS_PAUSES = "pauses is true, but thoughts cannot pause"
"""Why `pausing` is needed where a server's thoughts are to pause."""


def lacking(engine: str, name: str, why: str, kept_by: str | None = None) -> str:
    """Returns what is wrong where an engine lacks the capability `name`: `why` it is needed, and what keeps it away."""
    return f"{why}: the {engine} engine has no {NAMES.get(name, name)}" + ("" if kept_by is None else f" ({kept_by})")


class Engine(Protocol):
    """Decodes many sequences in one continuous batch. All calls come from one thread."""

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do beyond what all engines do."""

    @property
    def max_tokens(self) -> int:
        """The most tokens that one sequence may have: prompt, new tokens and probe room together."""

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        """Queue a sequence. Raises CapacityError if it can never fit, TokenError if the model lacks a prompt token.

        `like` names a sequence of the same prompt, which is then prefilled once for both; if that one has ended, the
        prompt is prefilled again. Raises SequenceError if its prompt is another, UnsupportedError for what the
        engine lacks of what the request asks.
        """

    def step(self) -> list[Event]:
        """Advance every running sequence and probe by one forward pass; returns no events if there is nothing to do.

        An engine may run several passes in one step and report a sequence's tokens late, but not later than the token
        at which the caller may want to act. A sequence can be forked or forced only when all its tokens are reported.
        """

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        """Start a probe on all but the last `back` tokens of a decoding sequence, which keeps decoding beside it.

        Raises SequenceError if the sequence is not decoding, is already being probed, or has fewer than `back` new
        tokens; CapacityError if `probe_room` is too small; TokenError if the model lacks a token of `spec`.
        """

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        """Rewind the sequence to where `probe` forked and continue with the first `keep` tokens of the probe's path.

        The path is suffix, answer, terminator; `then` is forced after the kept part. The next step reports these
        tokens as forced Tokens; the tokens that the sequence decoded beside the probe are withdrawn. Raises
        SequenceError if the probe is still running or has lapsed.
        """

    def drop(self, probe: ProbeId) -> int:
        """Stop a probe without an event and return the token rows it cost; 0 if it is unknown or has lapsed."""

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        """Append `tokens` to a decoding sequence; a probe on it lapses."""

    def arm_stops(self, sequence: SequenceId) -> None:
        """Allow the sequence's stop tokens to be sampled from now on. Unknown or ended sequences are ignored."""

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        """Let the sequence sample none of `tokens` from now on, in place of those banned before.

        Probes and what is forced or adopted are not banned, and log probabilities stay those of all tokens. Unknown
        or ended sequences are ignored. Raises TokenError if the model lacks a token or none is left to sample,
        UnsupportedError if the engine has no `masks`.
        """

    def constrain(self, sequence: SequenceId, constraint: Constraint | None) -> None:
        """Hold the sequence to `constraint` from its next sampled token on, in place of the one before; None: to none.

        A sequence that the constraint lets go on by no token ends: STOP if the text is complete, else ERROR, as it
        does where the constraint raises. Unknown or ended sequences are ignored. Raises UnsupportedError if the engine
        has no `constraints`.
        """

    def pause(self, sequence: SequenceId) -> None:
        """Take a decoding sequence out of the batch; it keeps its memory, and another may take its place.

        An engine that allocates memory as sequences grow may take it back meanwhile: then it is computed again. While
        more than `Capabilities.most_paused` are paused, those that wait may not begin.

        Until it goes on it gets no token and cannot be forked or forced; its stops, bans and constraint may change. An
        ended probe on it lapses. A paused sequence stays so. Raises SequenceError if the sequence is not decoding or
        its probe is running, UnsupportedError if the engine has no `pausing`.
        """

    def resume(self, sequence: SequenceId) -> None:
        """Have a paused sequence go on, before any that waits, as soon as the batch has a place; its tokens are those
        that it would have had. Any other sequence is left as it is.
        """

    def cancel(self, sequence: SequenceId) -> None:
        """End a sequence at once, without an event, and free its memory. Unknown or ended sequences are ignored."""

    def load(self) -> EngineLoad:
        """What the engine holds now."""
