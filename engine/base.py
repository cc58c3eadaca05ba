"""The engine protocol: the few verbs by which the serving loop drives any decoder, and the values that cross it.

    submit → step → events (Started, Tokens, Probed, Finished)     a sequence's life
    fork → Probed → adopt · drop                                   ask a running sequence for its answer, maybe keep it
    force · arm_stops · cancel · load                              steer it

Errors

    EngineError
    ├── UnsupportedModelError   the model cannot be decoded correctly by this engine
    ├── CorruptModelError       the model's files are missing or damaged
    ├── EngineUnavailableError  this machine lacks what the engine needs
    ├── CapacityError           the request can never fit, or the call would overrun what was reserved for it
    ├── TokenError              a token id that the model does not have
    └── SequenceError           the sequence or probe is unknown, or is not in a state that allows the call
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol, TypeAlias

from models.score import Score

SequenceId = NewType("SequenceId", int)
ProbeId = NewType("ProbeId", int)


class EngineError(Exception):
    """Anything that a caller of the engine can cause."""


class UnsupportedModelError(EngineError):
    """The model would be decoded wrongly, so it is not loaded."""


class CorruptModelError(EngineError):
    """The model's files are missing, unreadable or do not fit its configuration."""


class EngineUnavailableError(EngineError):
    """This machine lacks what the engine needs."""


class CapacityError(EngineError):
    """More was asked for than the engine holds or the sequence reserved."""


class EngineBrokenError(EngineError):
    """The engine cannot go on, whatever is asked of it: only a new process can."""


class TokenError(EngineError):
    """A token id that the model does not have."""


class SequenceError(EngineError):
    """The sequence or probe named is unknown or not in the state the call needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature 0 is greedy. Draws depend on (seed, position) alone."""

    temperature: float = 0.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise ValueError(f"temperature is {self.temperature}, must lie in 0…100")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, must be at least 0")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}, must lie in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sequence to decode.

    `max_new_tokens` counts sampled, forced and adopted tokens alike. While stops are not armed, stop tokens cannot be
    sampled; `Engine.arm_stops` lets them. `probe_room` is the longest suffix + answer a probe of it may need, tokens.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = Sampling()
    stop_tokens: frozenset[int] = frozenset()
    stops_armed: bool = True
    probe_room: int = 0

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("the prompt has 0 tokens, needs at least 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}, must be at least 1")
        if self.probe_room < 0:
            raise ValueError(f"probe_room is {self.probe_room}, must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A trial answer: the suffix is forced onto a fork of the sequence, then the answer is decoded greedily.

    The answer ends before a token of `answer_stops` (its terminator) or at `max_answer_tokens`. Once its confidence
    can no longer reach `give_up_below` the probe ends early: this never changes on which side of it the verdict falls.
    To learn what stands at the fork itself, read its last token again: it is the suffix then, and `back` one more.
    """

    suffix: tuple[int, ...]
    max_answer_tokens: int
    answer_stops: frozenset[int]
    score: Score = Score.GEOMETRIC_MEAN
    give_up_below: float = 0.0
    watched: int | None = None  # a token: how far it is from being the first of the answer is told as `Probed.gap`

    def __post_init__(self) -> None:
        if not self.suffix:
            raise ValueError("the probe's suffix has 0 tokens, needs at least 1")
        if self.max_answer_tokens < 1:
            raise ValueError(f"max_answer_tokens is {self.max_answer_tokens}, must be at least 1")

    @property
    def room(self) -> int:
        """The most tokens the probe's path can hold: suffix, answer and its terminator."""
        return len(self.suffix) + self.max_answer_tokens + 1

    def hopeless(self, log_probs: Sequence[float]) -> bool:
        """Whether an answer that has begun with these goes on, and can't reach `give_up_below` any more."""
        if not len(log_probs) < self.max_answer_tokens:
            return False
        return self.score.upper_bound(log_probs, self.max_answer_tokens) < self.give_up_below

    def gives_up(self, log_probs: Sequence[float]) -> int | None:
        """After how many tokens of an answer with these the probe gives up; None: it is told to its end."""
        if not self.give_up_below > 0.0:
            return None
        return next((m for m in range(1, len(log_probs) + 1) if self.hopeless(log_probs[:m])), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The sequence left the queue: its memory is reserved and its prefill begins."""

    sequence: SequenceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The sequence grew by these tokens, at least one; every token comes this way exactly once and in order."""

    sequence: SequenceId
    tokens: tuple[int, ...]
    forced: bool = False  # not sampled by the sequence itself: forced or adopted


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe has ended. Adopt it before the next step, or it lapses. Its sequence's last event of the step.

    `rows` counts the token rows the probe has cost (suffix and answer), the honest price of asking.
    """

    sequence: SequenceId
    probe: ProbeId
    answer: tuple[int, ...]
    terminator: int | None
    log_probs: tuple[float, ...]  # of the answer's tokens, raw softmax at temperature 1
    confidence: float
    gave_up: bool
    rows: int
    gap: float | None = None  # log p(the likeliest token) − log p(the watched one), raw, where the answer begins


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"  # it sampled one of its stop tokens
    LENGTH = "length"  # max_new_tokens reached
    ERROR = "error"  # serving it failed; it may be submitted again


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The sequence has ended by itself and its memory is free; probes still running on it are gone with it."""

    sequence: SequenceId
    reason: FinishReason


Event: TypeAlias = Started | Tokens | Probed | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """Exact counts of what the engine holds now; cells are tokens of KV cache."""

    running: int
    waiting: int
    probing: int
    cells_reserved: int
    cells_total: int


class Engine(Protocol):
    """Decodes many sequences in one continuous batch. All calls come from one thread."""

    @property
    def max_tokens(self) -> int:
        """The most tokens one sequence may have: prompt, new tokens and probe room together."""

    def submit(self, request: Request) -> SequenceId:
        """Queue a sequence. Raises CapacityError if it could never fit."""

    def step(self) -> list[Event]:
        """Advance every running sequence and probe by one forward pass; empty when there is nothing to do.

        An engine whose sequences grow by more at once may tell of it later, but no later than when a sequence is to be
        looked at; only one that has told of all its tokens can be forked or forced.
        """

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        """Start a probe on all but the last `back` tokens of a decoding sequence, which decodes on beside it.

        One probe runs on a sequence at a time. Raises SequenceError otherwise, CapacityError where `probe_room` is
        too small.
        """

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        """Rewind the sequence to where `probe` forked and go on from the first `keep` tokens of the probe's path.

        The path is suffix, answer, terminator; `then` is forced after what is kept of it. These tokens come as forced
        Tokens of the next step; what the sequence decoded beside the probe is withdrawn. Raises SequenceError once the
        probe has lapsed.
        """

    def drop(self, probe: ProbeId) -> int:
        """Stop a probe, without an event; the token rows that it has cost. 0 for one that is unknown or has lapsed."""

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        """Continue a decoding sequence with `tokens`; a probe of it lapses."""

    def arm_stops(self, sequence: SequenceId) -> None:
        """Let the sequence's stop tokens be sampled from now on. Unknown or ended ones are ignored."""

    def cancel(self, sequence: SequenceId) -> None:
        """End a sequence at once, without an event, and free its memory. Unknown or ended ones are ignored."""

    def load(self) -> EngineLoad:
        """What the engine holds now."""
