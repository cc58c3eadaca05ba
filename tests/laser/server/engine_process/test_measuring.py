"""A request whose grammar is new waits for that to be measured, and nothing else waits with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from controller.serving.request import ReasoningRequest
from laser.server.engine_process.measuring import Measuring
from laser.server.engine_process.messages import (
    Cancel,
    Command,
    EndThought,
    Event,
    Gone,
    Handled,
    Inquire,
    NotAccepted,
    Refusal,
    Submit,
    TurnedAway,
)
from models.grammar.compiling import Grammars
from models.grammar.grammar import Grammar, GrammarKind
from models.grammar.vocabulary import GrammarVocabulary
from models.reasoner import bundled_model
from models.tokenizer import ChatTokenizer

WAIT_S = 30.0
FREE = ReasoningRequest(prompt=(1,), max_tokens=9)


def held(text: str) -> ReasoningRequest:
    return ReasoningRequest(prompt=(1,), max_tokens=9, grammar=Grammar.choice([text], asked_by="guided_choice"))


def submit(number: int, request: ReasoningRequest) -> Submit:
    return Submit(number=number, request=request, probes=False)


@dataclass
class Bench:
    """Grammars that are measured once `gate` opens, and what has come of commands."""

    vocabulary: GrammarVocabulary
    most: int = 8
    now: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    before: list[tuple[int, bool]] = field(default_factory=list)  # of `handled`, when the first was measured
    passed: queue.SimpleQueue[Command] = field(default_factory=queue.SimpleQueue)
    events: list[Event] = field(default_factory=list)
    handled: list[tuple[int, bool]] = field(default_factory=list)  # requests, and whether the work on them was over

    def __post_init__(self) -> None:
        self.grammars = Grammars(self._vocabulary, ahead=True)
        self.measuring = Measuring(self.grammars, self.passed.put, self._send, most=self.most, clock=lambda: self.now)

    def _send(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Handled):
                self.handled.append((event.number, event.over))
            else:
                self.events.append(event)

    def _vocabulary(self) -> GrammarVocabulary:
        self.before = list(self.handled)
        assert self.gate.wait(WAIT_S)
        return self.vocabulary

    def take(self, *commands: Command) -> None:
        for command in commands:
            self.measuring.take(command)

    def next(self, count: int) -> list[Command]:
        return [self.passed.get(timeout=WAIT_S) for _ in range(count)]


@pytest.fixture(scope="module")
def vocabulary() -> GrammarVocabulary:
    tokenizer = ChatTokenizer(bundled_model())
    return GrammarVocabulary(tokenizer, tokenizer.eos_ids)


@pytest.fixture
def bench(vocabulary: GrammarVocabulary) -> Iterator[Bench]:
    bench = Bench(vocabulary)
    yield bench
    bench.gate.set()  # its thread would wait on


def test_other_requests_commands_go_past_a_grammar_that_is_measured(bench: Bench) -> None:
    first, last = submit(1, held("yes")), EndThought(call=9, number=1)
    others = [submit(2, FREE), EndThought(call=8, number=2), Inquire(call=7, whole=True), Cancel(number=2)]
    bench.take(first, *others, last)
    assert bench.next(len(others)) == others
    assert bench.passed.empty()
    bench.gate.set()
    assert bench.next(2) == [first, last]  # a request's own commands keep their order
    assert bench.before == [(1, False)]  # the process may end over it
    assert bench.handled == [(1, False), (1, True)]
    assert not bench.events


def test_a_request_has_waited_while_its_grammar_was_measured(bench: Bench) -> None:
    first = submit(1, replace(held("yes"), waited_s=1.0))  # of which it had waited for another process
    bench.take(first)
    bench.now = 2.5
    bench.gate.set()
    (passed,) = bench.next(1)
    assert passed == submit(1, replace(held("yes"), waited_s=3.5))


def test_a_request_whose_grammar_is_known_waits_for_none(bench: Bench) -> None:
    bench.gate.set()
    bench.take(submit(1, held("yes")))
    bench.next(1)
    bench.take(submit(2, held("yes")))
    assert not bench.passed.empty()  # at once
    assert bench.next(1) == [submit(2, held("yes"))]


def test_a_request_that_is_cancelled_meanwhile_is_gone_at_once_and_its_grammar_is_not_measured(bench: Bench) -> None:
    bench.take(submit(1, held("yes")), submit(2, held("no")), submit(3, held("perhaps")))
    bench.take(Cancel(number=1), Cancel(number=2))  # the first is being measured
    assert bench.events == [Gone(number=1, outcome=None), Gone(number=2, outcome=None)]
    bench.gate.set()
    assert bench.next(1) == [submit(3, held("perhaps"))]
    known = [request.grammar in bench.grammars for request in map(held, ("no", "perhaps")) if request.grammar]
    assert known == [False, True]
    bench.take(Cancel(number=3))
    assert bench.next(1) == [Cancel(number=3)]  # the loop's to obey


def test_more_requests_than_may_wait_are_turned_away(vocabulary: GrammarVocabulary) -> None:
    bench = Bench(vocabulary, most=2)
    bench.take(*(submit(number, held(str(number))) for number in range(5)))
    refused = [event.number for event in bench.events if isinstance(event, NotAccepted)]
    assert refused[-1] == 4
    assert all(event.why is Refusal.OVERLOADED for event in bench.events if isinstance(event, NotAccepted))
    assert bench.next(len(refused)) == [TurnedAway()] * len(refused)
    bench.gate.set()
    assert len(bench.next(5 - len(refused))) == 5 - len(refused)


def test_a_grammar_that_cannot_be_used_is_left_for_the_loop_to_refuse(bench: Bench) -> None:
    wrong = ReasoningRequest(prompt=(1,), max_tokens=9, grammar=Grammar(kind=GrammarKind.REGEX, text="(a"))
    bench.gate.set()
    bench.take(submit(1, wrong))
    assert bench.next(1) == [submit(1, wrong)]


def test_a_library_s_panic_over_a_grammar_ends_no_thread(vocabulary: GrammarVocabulary) -> None:
    """As pyo3 raises it: no Exception."""

    class Panic(BaseException):
        pass

    class Panicking(Bench):
        panics = 1

        def _vocabulary(self) -> GrammarVocabulary:
            if self.panics:
                self.panics -= 1
                raise Panic("index out of bounds")
            return super()._vocabulary()

    bench = Panicking(vocabulary)
    bench.gate.set()
    commands = [submit(1, held("yes")), submit(2, held("no"))]
    bench.take(*commands)
    assert bench.next(2) == commands  # the loop meets it again
