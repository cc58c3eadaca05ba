"""Argument checks that all engines share; each error names the value and its limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.base import (
    Capabilities,
    CapacityError,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceError,
    SequenceId,
    TokenError,
)


class Named(Protocol):
    """The part of a probe that the checks read: its id."""

    @property
    def id(self) -> ProbeId: ...


class DecodingSequence(Protocol):
    """The part of a decoding sequence that the checks read."""

    @property
    def id(self) -> SequenceId: ...
    @property
    def request(self) -> Request: ...
    @property
    def new_tokens(self) -> int: ...
    @property
    def probe(self) -> Named | None: ...


def check_request(request: Request, *, max_tokens: int, vocabulary: int) -> None:
    """Raises CapacityError if the request can never fit, TokenError if the model lacks a token of its prompt."""
    need = request.cells
    if need > max_tokens:
        raise CapacityError(
            f"the request needs {need} tokens ({len(request.prompt)} prompt + {request.max_new_tokens} new + "
            f"{request.probe_room} for probes), must be at most {max_tokens}"
        )
    check_tokens(request.prompt, "the prompt", vocabulary)
    check_tokens([token for token, _ in request.sampling.logit_bias], "logit_bias", vocabulary)


NEUTRAL = {"temperature": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
"""What an engine that does not sample takes of a request's sampling."""


def check_asked(request: Request, capabilities: Capabilities) -> None:
    """Raises UnsupportedError, which names the value, if the request asks for what the engine lacks."""
    for name, neutral in NEUTRAL.items():
        value = getattr(request.sampling, name)
        if value != neutral:
            capabilities.need("sampling", f"{name} is {value:g}, must be {neutral:g}")
    if request.sampling.logit_bias:
        capabilities.need("sampling", f"logit_bias has {len(request.sampling.logit_bias)} tokens, must have 0")
    if request.constraint is not None:
        capabilities.need("constraints", "the request has a constraint, must have none")
    if request.log_probs is not None:
        capabilities.need("token_log_probs", f"log_probs is {request.log_probs}, must be None")


def check_fork(state: DecodingSequence, spec: ProbeSpec, *, back: int, vocabulary: int) -> None:
    """Raises an EngineError if the sequence cannot be probed with `spec` at `back`.

    SequenceError: it is being probed, or `back` is out of range. CapacityError: `spec` exceeds the request's
    `probe_room`. TokenError: the model lacks a token of `spec`.
    """
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
    """Raises an EngineError if the sequence cannot continue with the first `keep` tokens of `path` and then `then`.

    `after` is the number of the sequence's new tokens before the path. SequenceError: `keep` is out of range.
    TokenError: the model lacks a token of `then`. CapacityError: the sequence would exceed `max_new_tokens`.
    """
    if not 1 <= keep <= len(path):
        raise SequenceError(f"keep is {keep}, must lie in 1…{len(path)}")
    check_tokens(then, "what follows the probe", vocabulary)
    check_room(state, after + keep + len(then))


def check_tokens(tokens: Sequence[int], what: str, vocabulary: int) -> None:
    """Raises TokenError if the model lacks one of `tokens`; the message calls them `what`."""
    if tokens and not (min(tokens) >= 0 and max(tokens) < vocabulary):
        token = next(token for token in tokens if not 0 <= token < vocabulary)
        raise TokenError(f"{what} has token {token}, must lie in 0…{vocabulary - 1}")


def check_ban(tokens: frozenset[int], request: Request, vocabulary: int) -> None:
    """Raises TokenError if the model lacks one of `tokens`, or could sample nothing besides them and the stops."""
    check_tokens(tuple(tokens), "what is banned", vocabulary)
    left = vocabulary - len(tokens | request.stop_tokens)
    if left < 1:
        raise TokenError(f"{len(tokens)} tokens are banned, which leaves 0 of {vocabulary} to sample, must leave 1")


def check_room(state: DecodingSequence, new_tokens: int) -> None:
    """Raises CapacityError if `new_tokens` exceeds the sequence's `max_new_tokens`."""
    limit = state.request.max_new_tokens
    if new_tokens > limit:
        raise CapacityError(f"sequence {state.id} would have {new_tokens} new tokens, may have at most {limit}")
