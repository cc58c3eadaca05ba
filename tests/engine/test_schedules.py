"""Any schedule of calls, drawn by hypothesis, leaves every token and every answer what generate() says one by one."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from engine.base import Engine, ProbeId, ProbeSpec, Request
from models.score import Score
from tests.engine.conftest import EngineUnderTest
from tests.engine.ledger import Ledger, path
from tests.engine.making import request, search, spec, tokens


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


WHICH = st.integers(0, 30)
SEEDS = st.integers(0, 1_000)
SUBMIT = st.builds(
    lambda prompt, new, seed, stops, armed: Submit(
        request(prompt, new, seed=seed, stop_tokens=frozenset(tokens(stops, seed + 1)), stops_armed=armed)
    ),
    st.integers(1, 40),
    st.integers(1, 30),
    SEEDS,
    st.sampled_from([0, 3, 10]),
    st.booleans(),
)
FORK = st.builds(
    lambda which, suffix, answer, seed, stops, score, give_up, back, keep: Fork(
        which,
        spec(
            suffix,
            answer,
            seed=seed,
            answer_stops=frozenset(tokens(stops, seed + 1)),
            score=score,
            give_up_below=give_up,
        ),
        back,
        keep,
    ),
    WHICH,
    st.integers(1, 5),
    st.integers(1, 6),
    SEEDS,
    st.sampled_from([0, 10, 40]),
    st.sampled_from(Score),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(0, 6),
    st.none() | st.floats(0.0, 1.0),
)
FORCE = st.builds(lambda which, count, seed: Force(which, tokens(count, seed)), WHICH, st.integers(1, 5), SEEDS)
STEERED = st.one_of(
    SUBMIT, FORK, FORK, FORK, FORK, FORK, FORCE, st.builds(Cancel, WHICH), st.builds(Drop, WHICH), st.builds(Arm, WHICH)
)
SCHEDULE = st.builds(
    lambda first, rounds: [*first, *(operation for pair in rounds for operation in pair)],
    st.lists(SUBMIT, min_size=3, max_size=6),
    st.lists(st.tuples(STEERED, st.builds(Steps, st.integers(1, 4))), min_size=10, max_size=30),
)


class Schedule:
    """Plays operations on an engine, skipping those that the protocol does not allow just then."""

    def __init__(self, engine: Engine) -> None:
        self.ledger = Ledger(engine)
        self._wanted: dict[ProbeId, float | None] = {}
        self.waited = self.adopted = self.lapsed = 0

    def play(self, operations: list[Submit | Steps | Fork | Force | Cancel | Drop | Arm]) -> None:
        for operation in operations:
            match operation:
                case Submit(request=request):
                    self.ledger.submit(request)
                case Steps(count=count):
                    for _ in range(count):
                        self.step()
                case _:
                    self._steer(operation)
        while self.ledger.engine.load().running or self.ledger.engine.load().waiting:
            self.step()

    def step(self) -> None:
        probed = self.ledger.step()
        self.waited += self.ledger.engine.load().waiting
        for answer in probed:
            account, asked = self.ledger.accounts[answer.sequence], self.ledger.asked[answer.probe]
            wanted = self._wanted.pop(answer.probe)
            keep = 0 if wanted is None else max(1, round(wanted * len(path(asked))))
            if wanted is None or account.over or asked.fork_at + keep > account.request.max_new_tokens:
                self.lapsed += 1
            else:
                self.ledger.adopt(answer.sequence, answer.probe, keep=keep)
                self.adopted += 1

    def _steer(self, operation: Fork | Force | Cancel | Drop | Arm) -> None:
        accounts = self.ledger.accounts
        live = [sequence for sequence, account in accounts.items() if not account.over]
        if isinstance(operation, Fork | Force):
            live = [sequence for sequence in live if accounts[sequence].decoding]
        if not live:
            return
        sequence = live[operation.which % len(live)]
        account = accounts[sequence]
        match operation:
            case Fork(spec=spec, back=back, keep=keep):
                if account.probe is None:
                    probe = self.ledger.fork(sequence, spec, back=min(back, len(account.tokens)))
                    self._wanted[probe] = keep
            case Force(tokens=forced):
                if len(account.tokens) + len(forced) <= account.request.max_new_tokens:
                    self.ledger.force(sequence, forced)
            case Cancel():
                self.ledger.cancel(sequence)
            case Drop() if account.probe is not None:
                self.ledger.drop(account.probe)
            case Arm():
                self.ledger.arm(sequence)


@search(30)
@given(operations=SCHEDULE)
def test_any_schedule_decodes_what_generate_says_one_by_one(
    tested: EngineUnderTest, operations: list[Submit | Steps | Fork | Force | Cancel | Drop | Arm]
) -> None:
    """Joins, queueing, chunked prefill, compaction, probes, adoption, forcing and cancellation change no token."""
    schedule = Schedule(tested.open(160, 4, 8))
    schedule.play(operations)
    schedule.ledger.verify(tested.oracle)
    for name in ("waited", "adopted", "lapsed"):
        event(f"{name}: {min(getattr(schedule, name), 1)}")
