"""What an engine has done, written down event by event, and checked against the oracle once it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.base import (
    MARGIN,
    Engine,
    Event,
    Finished,
    FinishReason,
    Probed,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceId,
    Started,
    Tokens,
)
from engine.constraint import Constraint
from tests.support.constraints import allowed_by, assert_likeliest
from tests.support.tiny_models import VOCABULARY, Oracle


@dataclass(slots=True, kw_only=True)
class Asked:
    """A probe and the context it was asked in."""

    spec: ProbeSpec
    fork_at: int  # new tokens of the sequence that it continues
    context: tuple[int, ...]
    answer: Probed | None = None


@dataclass(slots=True, kw_only=True)
class Account:
    """One sequence: its new tokens as the events tell them, and what it is still owed."""

    request: Request
    started: bool = False
    tokens: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)  # False: forced or adopted
    armed_at: list[bool] = field(default_factory=list)  # whether stops were armed when the token came
    armed: bool
    banned_at: list[frozenset[int]] = field(default_factory=list)  # what was banned when the token came
    banned: frozenset[int]
    allowed_at: list[frozenset[int] | None] = field(default_factory=list)  # by its constraint; None: it had none
    twin: Constraint | None = None  # of its constraint: takes each sampled token
    averted: int = 0  # tokens in whose place a banned one was chosen
    due: deque[int] = field(default_factory=deque)  # forced or adopted, their events still to come
    probe: ProbeId | None = None
    finished: FinishReason | None = None
    error: str | None = None
    cancelled: bool = False
    paused: bool = False

    @property
    def over(self) -> bool:
        return self.cancelled or self.finished is not None

    @property
    def decoding(self) -> bool:
        """Whether it may be forked and forced now."""
        return bool(self.tokens) and not self.due and not self.over and not self.paused

    @property
    def context(self) -> tuple[int, ...]:
        return (*self.request.prompt, *self.tokens)

    @property
    def constrained(self) -> bool:
        """Whether a token of it was sampled under a constraint."""
        return any(allowed is not None for allowed in self.allowed_at)

    def grow(self, token: int, *, sampled: bool) -> None:
        """Write down a token, and what held when it came."""
        self.tokens.append(token)
        self.sampled.append(sampled)
        self.armed_at.append(self.armed)
        self.banned_at.append(self.banned)
        twin = self.twin if sampled else None
        self.allowed_at.append(None if twin is None else allowed_by(twin, VOCABULARY))
        if twin is not None:
            twin.accept(token)

    def cut(self, length: int) -> None:
        """Withdraw all tokens but the first ones."""
        for column in (self.tokens, self.sampled, self.armed_at, self.banned_at, self.allowed_at):
            del column[length:]


class Ledger:
    """Drives an engine and holds it to its protocol; `verify` then asks the oracle about every token."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.accounts: dict[SequenceId, Account] = {}
        self.asked: dict[ProbeId, Asked] = {}

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        sequence = self.engine.submit(request, like=like)
        assert sequence not in self.accounts, "a sequence id was given twice"
        self.accounts[sequence] = Account(
            request=request, armed=request.stops_armed, banned=request.banned, twin=_twin(request.constraint)
        )
        return sequence

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        account = self.accounts[sequence]
        if back and not self.engine.capabilities.trim:
            pytest.skip("the engine forks at the newest token only")
        probe = self.engine.fork(sequence, spec, back=back)
        assert probe not in self.asked, "a probe id was given twice"
        fork_at = len(account.tokens) - back
        context = (*account.request.prompt, *account.tokens[:fork_at])
        self.asked[probe] = Asked(spec=spec, fork_at=fork_at, context=context)
        account.probe = probe
        return probe

    def adopt(self, sequence: SequenceId, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        self.engine.adopt(probe, keep=keep, then=then)
        account, asked = self.accounts[sequence], self.asked[probe]
        account.cut(asked.fork_at)
        account.due.extend((*path(asked)[:keep], *then))
        account.probe = None

    def drop(self, probe: ProbeId) -> int:
        rows = self.engine.drop(probe)
        for account in self.accounts.values():
            if account.probe == probe:
                account.probe = None
        return rows

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        self.engine.force(sequence, tokens)
        self.accounts[sequence].due.extend(tokens)
        self.accounts[sequence].probe = None

    def arm(self, sequence: SequenceId) -> None:
        self.engine.arm_stops(sequence)
        self.accounts[sequence].armed = True

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        self.engine.ban(sequence, tokens)
        self.accounts[sequence].banned = tokens

    def constrain(self, sequence: SequenceId, constraint: Constraint | None) -> None:
        self.engine.constrain(sequence, constraint)
        self.accounts[sequence].twin = _twin(constraint)

    def pause(self, sequence: SequenceId) -> None:
        self.engine.pause(sequence)
        self.accounts[sequence].paused, self.accounts[sequence].probe = True, None

    def resume(self, sequence: SequenceId) -> None:
        self.engine.resume(sequence)
        self.accounts[sequence].paused = False

    def cancel(self, sequence: SequenceId) -> None:
        self.engine.cancel(sequence)
        self.accounts[sequence].cancelled = self.accounts[sequence].finished is None

    def step(self) -> list[Probed]:
        """One step of the engine; the answers of probes that ended in it."""
        return self.note(self.engine.step())

    def note(self, events: Sequence[Event]) -> list[Probed]:
        """Write down what a step of the engine has told."""
        probed: list[Probed] = []
        for event in events:
            account = self.accounts[event.sequence]
            assert not account.over, f"{event} after the sequence was over"
            answered = any(answer.sequence == event.sequence for answer in probed)
            assert not account.paused, f"{event} of a paused sequence"
            assert not answered, f"{event} after the probe's answer, which whoever adopts it would not expect"
            match event:
                case Started():
                    assert not account.started
                    account.started = True
                case Tokens(tokens=tokens, forced=forced, averted=averted):
                    assert account.started
                    assert tokens, "no token has come"
                    assert forced == bool(account.due), "forced tokens come before sampled ones"
                    assert 0 <= averted <= (0 if forced or not account.banned else len(tokens))
                    account.averted += averted
                    for token in tokens:
                        if forced:
                            assert token == account.due.popleft()
                        account.grow(token, sampled=not forced)
                case Probed(probe=probe):
                    assert account.probe == probe, "a probe that was dropped has answered"
                    assert self.asked[probe].answer is None
                    self.asked[probe].answer = event
                    account.probe = None
                    probed.append(event)
                case Finished(reason=reason, error=error):
                    assert not account.due
                    account.finished, account.probe, account.error = reason, None, error
        return probed

    def run(self, limit: int = 10_000) -> None:
        """Step until there is nothing left to do."""
        for _ in range(limit):
            load = self.engine.load()
            if load.running == load.waiting == load.paused == 0:
                assert self.engine.step() == []
                return
            self.step()
        raise AssertionError(f"not idle after {limit} steps: {self.engine.load()}")

    def verify(self, oracle: Oracle) -> None:
        """Every token, every answer and every count is what the oracle says."""
        load = self.engine.load()
        assert (load.running, load.waiting, load.probing, load.paused, load.cells_reserved) == (0, 0, 0, 0, 0)
        for account in self.accounts.values():
            assert account.over
            _verify_tokens(account, oracle)
            _verify_end(account)
        for asked in self.asked.values():
            if asked.answer is not None:
                _verify_answer(asked, asked.answer, oracle)


def path(asked: Asked) -> tuple[int, ...]:
    """The probe's whole path: suffix, answer, terminator."""
    answer = asked.answer
    assert answer is not None
    end = () if answer.terminator is None else (answer.terminator,)
    return (*asked.spec.suffix, *answer.answer, *end)


def _verify_tokens(account: Account, oracle: Oracle) -> None:
    """Each run of sampled tokens is what generate() says follows everything before it."""
    stops, start = account.request.stop_tokens, 0
    while start < len(account.tokens):
        end = start + 1
        kinds = list(zip(account.sampled, account.armed_at, account.banned_at, account.allowed_at, strict=True))
        sampled, armed, banned, allowed = kinds[start]
        while allowed is None and end < len(account.tokens) and kinds[end] == kinds[start]:
            end += 1
        if allowed is not None:
            rest = allowed if armed else (allowed - stops or allowed)
            context = (*account.request.prompt, *account.tokens[:start])
            assert_likeliest(oracle, context, account.tokens[start], rest - banned or rest)
        elif sampled:
            oracle.assert_continues(
                (*account.request.prompt, *account.tokens[:start]),
                account.tokens[start:end],
                stops=stops if armed else frozenset(),
                barred=banned if armed else banned | stops,
            )
        start = end


def _verify_end(account: Account) -> None:
    limit = account.request.max_new_tokens
    assert len(account.tokens) <= limit
    stopped = (
        bool(account.tokens)
        and account.sampled[-1]
        and (account.armed_at[-1] or account.allowed_at[-1] is not None)
        and account.tokens[-1] in account.request.stop_tokens
    )
    match account.finished:
        case FinishReason.STOP:
            assert stopped or (account.twin is not None and account.twin.complete)
        case FinishReason.LENGTH:
            assert len(account.tokens) == limit
            assert not stopped
        case FinishReason.ERROR:
            assert account.twin is not None, account.error
        case other:
            assert other is None
            assert account.cancelled


def _verify_answer(asked: Asked, answer: Probed, oracle: Oracle) -> None:
    spec = asked.spec
    context = (*asked.context, *spec.suffix)
    end = () if answer.terminator is None else (answer.terminator,)
    if spec.constraint is None:
        oracle.assert_continues(context, (*answer.answer, *end), stops=spec.answer_stops)
    else:
        _verify_held(context, answer, spec.constraint.copy(), oracle)
    assert not set(answer.answer) & spec.answer_stops
    if answer.terminator is not None:
        assert answer.terminator in spec.answer_stops
    exact = oracle.log_probs(context, answer.answer)
    np.testing.assert_allclose(answer.log_probs, exact, atol=oracle.LOG_PROB)
    assert set(answer.readings) == spec.read
    if spec.watched is not None:
        np.testing.assert_allclose(answer.readings[MARGIN], oracle.gap(context, spec.watched), atol=oracle.LOG_PROB)
    np.testing.assert_allclose(answer.confidence, spec.score.confidence(answer.log_probs), rtol=1e-9)
    fewest = 1 if oracle.FOUND_BY_CONTENT else len(spec.suffix)
    assert fewest <= answer.rows <= spec.room
    if answer.gave_up and spec.constraint is not None:
        assert len(answer.answer) <= spec.max_answer_tokens
    elif answer.gave_up:
        whole = [token for token in oracle.generate(context, spec.max_answer_tokens, stops=spec.answer_stops)]
        if whole[-1] in spec.answer_stops:
            del whole[-1]
        assert spec.score.confidence(oracle.log_probs(context, whole).tolist()) < spec.give_up_below + oracle.LOG_PROB
    elif answer.terminator is None and not answer.complete:
        assert len(answer.answer) == spec.max_answer_tokens or spec.constraint is not None


def _verify_held(context: tuple[int, ...], answer: Probed, constraint: Constraint, oracle: Oracle) -> None:
    """Each token of the answer is the likeliest that the constraint allows."""
    for token in answer.answer:
        assert_likeliest(oracle, context, token, allowed_by(constraint, VOCABULARY))
        constraint.accept(token)
        context = (*context, token)
    if answer.terminator is not None:
        assert_likeliest(oracle, context, answer.terminator, allowed_by(constraint, VOCABULARY))
    assert answer.complete == (constraint.complete and answer.terminator is None)


def _twin(constraint: Constraint | None) -> Constraint | None:
    return None if constraint is None else constraint.copy()
