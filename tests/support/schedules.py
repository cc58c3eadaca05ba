"""Schedules of calls, drawn by hypothesis, and a player that plays them on an engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from hypothesis import strategies as st

from engine.base import Engine, ProbeId, ProbeSpec, Request
from models.score import Score
from tests.support.constraints import InTurn, in_turn
from tests.support.engine_requests import request, spec, tokens
from tests.support.ledger import Ledger, path
from tests.support.tiny_models import VOCABULARY


@dataclass(frozen=True, slots=True)
class Submit:
    request: Request


@dataclass(frozen=True, slots=True)
class Steps:
    count: int


@dataclass(frozen=True, slots=True)
class Fork:
    which: int
    spec: ProbeSpec
    back: int
    keep: float | None  # share of the path to adopt; None: let the probe lapse
    then: tuple[int, ...]  # forced after what is adopted


@dataclass(frozen=True, slots=True)
class Force:
    which: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    which: int


@dataclass(frozen=True, slots=True)
class Drop:
    which: int


@dataclass(frozen=True, slots=True)
class Arm:
    which: int


@dataclass(frozen=True, slots=True)
class Ban:
    which: int
    tokens: frozenset[int]


@dataclass(frozen=True, slots=True)
class Constrain:
    which: int
    constraint: InTurn | None


Operation: TypeAlias = Submit | Steps | Fork | Force | Cancel | Drop | Arm | Ban | Constrain

WHICH = st.integers(0, 30)
SEEDS = st.integers(0, 1_000)
FORK = st.builds(
    lambda which, suffix, answer, seed, stops, score, give_up, watched, held, back, keep, then: Fork(
        which,
        spec(
            suffix,
            answer,
            seed=seed,
            answer_stops=frozenset(tokens(stops, seed + 1)),
            score=score,
            give_up_below=give_up,
            watched=watched,
            constraint=in_turn(seed + 3) if held else None,
        ),
        back,
        keep,
        tokens(then, seed + 2),
    ),
    WHICH,
    st.integers(1, 5),
    st.integers(1, 6),
    SEEDS,
    st.sampled_from([0, 10, 40]),
    st.sampled_from(Score),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.none() | st.integers(0, VOCABULARY - 1),
    st.sampled_from([False, False, True]),
    st.integers(0, 6),
    st.none() | st.floats(0.0, 1.0),
    st.sampled_from([0, 0, 1, 3]),
)
FORCE = st.builds(lambda which, count, seed: Force(which, tokens(count, seed)), WHICH, st.integers(1, 5), SEEDS)
BAN = st.builds(
    lambda which, count, seed: Ban(which, frozenset(tokens(count, seed))), WHICH, st.sampled_from([0, 2, 20]), SEEDS
)
CONSTRAIN = st.builds(
    lambda which, seed: Constrain(which, None if seed is None else in_turn(seed)), WHICH, st.none() | SEEDS
)
OTHERS = (
    FORK,
    FORK,
    FORK,
    FORK,
    FORK,
    FORCE,
    BAN,
    CONSTRAIN,
    *(st.builds(kind, WHICH) for kind in (Cancel, Drop, Arm)),
)


def schedules(prompts: st.SearchStrategy[int], *, new: int = 30) -> st.SearchStrategy[list[Operation]]:
    """Schedules of requests with prompts of so many tokens, and of up to so many new ones."""
    submit = st.builds(
        lambda prompt, new, seed, stops, armed: Submit(
            request(prompt, new, seed=seed, stop_tokens=frozenset(tokens(stops, seed + 1)), stops_armed=armed)
        ),
        prompts,
        st.integers(1, new),
        SEEDS,
        st.sampled_from([0, 3, 10]),
        st.booleans(),
    )
    return st.builds(
        lambda first, rounds: [*first, *(operation for pair in rounds for operation in pair)],
        st.lists(submit, min_size=3, max_size=6),
        st.lists(st.tuples(st.one_of(submit, *OTHERS), st.builds(Steps, st.integers(1, 4))), min_size=10, max_size=30),
    )


class Schedule:
    """Plays operations on an engine, skipping those that the protocol does not allow just then."""

    def __init__(self, engine: Engine) -> None:
        self.ledger = Ledger(engine)
        self._wanted: dict[ProbeId, Fork] = {}
        self.waited = self.adopted = self.lapsed = self.forced = self.cancelled = 0

    def play(self, operations: list[Operation]) -> None:
        for operation in operations:
            match operation:
                case Submit(request=request):
                    self.ledger.submit(request)
                case Steps(count=count):
                    for _ in range(count):
                        self.step()
                case _:
                    self._steer(operation)
        for _ in range(10_000):
            if not self.ledger.engine.load().running and not self.ledger.engine.load().waiting:
                return
            self.step()
        raise AssertionError(f"never idle: {self.ledger.engine.load()}")

    def step(self) -> None:
        probed = self.ledger.step()
        self.waited += self.ledger.engine.load().waiting
        for answer in probed:
            account, asked = self.ledger.accounts[answer.sequence], self.ledger.asked[answer.probe]
            wanted = self._wanted.pop(answer.probe)
            keep = 0 if wanted.keep is None else max(1, round(wanted.keep * len(path(asked))))
            end = asked.fork_at + keep + len(wanted.then)
            if not keep or account.over or end > account.request.max_new_tokens:
                self.lapsed += 1
            else:
                self.ledger.adopt(answer.sequence, answer.probe, keep=keep, then=wanted.then)
                self.adopted += 1

    def _steer(self, operation: Fork | Force | Cancel | Drop | Arm | Ban | Constrain) -> None:
        accounts = self.ledger.accounts
        live = [sequence for sequence, account in accounts.items() if not account.over]
        if isinstance(operation, Fork | Force):
            live = [sequence for sequence in live if accounts[sequence].decoding]
        if not live:
            return
        sequence = live[operation.which % len(live)]
        account = accounts[sequence]
        match operation:
            case Fork(spec=spec, back=back):
                if account.probe is None:
                    if not self.ledger.engine.capabilities.constraints:
                        spec = replace(spec, constraint=None)
                    back = min(back, len(account.tokens)) if self.ledger.engine.capabilities.trim else 0
                    probe = self.ledger.fork(sequence, spec, back=back)
                    self._wanted[probe] = operation
            case Force(tokens=forced):
                if len(account.tokens) + len(forced) <= account.request.max_new_tokens:
                    self.ledger.force(sequence, forced)
                    self.forced += 1
            case Cancel():
                self.ledger.cancel(sequence)
                self.cancelled += 1
            case Drop() if account.probe is not None:
                self.ledger.drop(account.probe)
            case Arm():
                self.ledger.arm(sequence)
            case Ban(tokens=banned) if self.ledger.engine.capabilities.masks:
                self.ledger.ban(sequence, banned)
            case Constrain(constraint=held) if self.ledger.engine.capabilities.constraints:
                self.ledger.constrain(sequence, None if held is None else held.copy())
