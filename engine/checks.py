"""What a caller may ask of an engine: refused alike by all of them, with the value and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.base import CapacityError, ProbeId, ProbeSpec, Request, SequenceError, SequenceId, TokenError


class Named(Protocol):
    """A probe, as far as the checks name it."""

    @property
    def id(self) -> ProbeId: ...


class DecodingSequence(Protocol):
    """What the checks read of a sequence that decodes."""

    @property
    def id(self) -> SequenceId: ...
    @property
    def request(self) -> Request: ...
    @property
    def new_tokens(self) -> int: ...
    @property
    def probe(self) -> Named | None: ...


def check_request(request: Request, *, max_tokens: int, vocabulary: int) -> None:
    """Raises CapacityError for a request that can never fit, TokenError for a token that the model does not have."""
    need = len(request.prompt) + request.max_new_tokens + request.probe_room
    if need > max_tokens:
        raise CapacityError(
            f"the request needs {need} tokens ({len(request.prompt)} prompt + {request.max_new_tokens} new + "
            f"{request.probe_room} for probes), must be at most {max_tokens}"
        )
    check_tokens(request.prompt, "the prompt", vocabulary)


def check_fork(state: DecodingSequence, spec: ProbeSpec, *, back: int, vocabulary: int) -> None:
    """Raises SequenceError, CapacityError or TokenError where a sequence cannot be probed like this."""
    if state.probe is not None:
        raise SequenceError(f"sequence {state.id} is being probed already, by probe {state.probe.id}")
    if spec.room > state.request.probe_room:
        raise CapacityError(f"the probe needs {spec.room} tokens, the request reserved {state.request.probe_room}")
    if not 0 <= back <= state.new_tokens:
        raise SequenceError(f"back is {back}, must lie in 0…{state.new_tokens}")
    check_tokens(spec.suffix, "the probe's suffix", vocabulary)
    if spec.watched is not None:
        check_tokens((spec.watched,), "what the probe watches", vocabulary)


def check_adoption(
    state: DecodingSequence, path: Sequence[int], keep: int, then: Sequence[int], *, after: int, vocabulary: int
) -> None:
    """Raises SequenceError, CapacityError or TokenError where a sequence cannot go on from a probe's path like this.

    `after`: new tokens of the sequence that the path continues.
    """
    if not 1 <= keep <= len(path):
        raise SequenceError(f"keep is {keep}, must lie in 1…{len(path)}")
    check_tokens(then, "what follows the probe", vocabulary)
    check_room(state, after + keep + len(then))


def check_tokens(tokens: Sequence[int], what: str, vocabulary: int) -> None:
    """Raises TokenError for a token that the model does not have."""
    if tokens and not (min(tokens) >= 0 and max(tokens) < vocabulary):
        token = next(token for token in tokens if not 0 <= token < vocabulary)
        raise TokenError(f"{what} has token {token}, must lie in 0…{vocabulary - 1}")


def check_room(state: DecodingSequence, new_tokens: int) -> None:
    """Raises CapacityError for more new tokens than the sequence may have."""
    limit = state.request.max_new_tokens
    if new_tokens > limit:
        raise CapacityError(f"sequence {state.id} would have {new_tokens} new tokens, may have at most {limit}")
