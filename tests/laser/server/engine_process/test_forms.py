"""The loop ticks, probes and decides the same in one process and in two."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from controller.decision_record import DecisionRecord
from controller.planning.planner import Planner
from controller.serving.admission import AdmissionLimits
from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from engine.base import Event as Step
from engine.wrapper import EngineWrapper
from laser.server.config import ServeConfig
from laser.server.deployment import Deployment, deploy
from laser.server.engine_process import driver
from laser.server.engine_process.driver import LoopDriver
from laser.server.engine_process.host import Host, HostLine
from laser.server.engine_process.messages import (
    Began,
    Command,
    Deployed,
    Ended,
    EndThought,
    Event,
    Handled,
    Shown,
    Stop,
    Submit,
)
from laser.server.engine_process.supervision import Fate, Ledger
from laser.server.engine_process.wire import EVENTS, Unpacker, packed
from models.grammar.grammar import Grammar
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import QUALITY, AtOnce, Driven
from tests.support.parrot_engine import ParrotOptions

REQUESTS = 12
STEP_S = 0.125  # on the loop's clock


class Clocked(EngineWrapper):
    """A scripted engine whose every step takes STEP_S, and which writes down all that it does."""

    def __init__(self, directory: Path) -> None:
        super().__init__(ParrotOptions(cells=4096, max_batch=3).open(directory).engine)
        self.now = 0.0
        self.steps: list[tuple[float, list[Step]]] = []

    def step(self) -> list[Step]:
        events = self.engine.step()
        self.now += STEP_S
        self.steps.append((self.now, events))
        return events


class Bench:
    """A loop under a load-aware controller, and what both have done."""

    def __init__(self, sound: Deployment, directory: Path) -> None:
        self.records: list[DecisionRecord] = []
        self.engine = Clocked(directory)
        solver = AtOnce(Planner(QUALITY, clock=lambda: 0.0))  # its own: one that has solved before begins elsewhere
        controller = Driven(solver, sink=self.records.append).controller
        loop = ServingLoop(
            engine=self.engine,
            tokenizer=sound.chat.tokenizer,
            thinking=sound.chat.thinking,
            policy=controller,
            observer=controller,
            stop_tokens=sound.chat.stop_tokens,
            clock=lambda: self.engine.now,
            admission=AdmissionLimits(slots=3, max_waiting=REQUESTS),
        )
        self.deployment = replace(sound, engine=self.engine, loop=loop)


def commands(sound: Deployment) -> list[Command]:
    prompt = sound.chat.prompt([{"role": "user", "content": "Pieces of eight?"}])
    asked: list[Command] = [
        Submit(
            number=number,
            request=ReasoningRequest(prompt=prompt, max_tokens=80, difficulty=CLASSES[number % len(CLASSES)]),
            probes=True,
        )
        for number in range(1, REQUESTS + 1)
    ]
    return [*asked, EndThought(call=99, number=2)]


def over(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Ended) for event in events)


def in_one_process(bench: Bench, asked: list[Command], sent: list[int] | None = None) -> list[Event]:
    """Serves on this thread; `sent` gets how many events went out at once."""
    inbox: queue.Queue[Command] = queue.Queue()
    told: list[Event] = []

    def send(events: list[Event]) -> None:
        told.extend(events)
        if sent is not None:
            sent.append(len(events))
        if over(told) == REQUESTS:
            inbox.put(Stop())

    for command in asked:
        inbox.put(command)
    LoopDriver(bench.deployment.loop, send, inbox=inbox).run()
    return told


def in_two(bench: Bench, asked: list[Command]) -> list[Event]:
    """As the host serves, over its socket; the test reads the other end."""
    ours, theirs = socket.socketpair()
    told: list[Event] = []

    def read() -> None:
        unpacker = Unpacker(EVENTS)
        while over(told) < REQUESTS:
            for events in unpacker.feed(ours.recv(4096)):
                told.extend(events)
        ours.sendall(packed([Stop()]))

    with ours, theirs:
        inbox: queue.Queue[Command] = queue.Queue()
        host = Host(HostLine(theirs, gone=lambda status: None), inbox=inbox)
        ours.sendall(packed(asked))
        while inbox.qsize() < len(asked):  # all are there before the first tick, as in one process
            pass
        reader = threading.Thread(target=read)
        reader.start()
        host.serve(bench.deployment)
        reader.join()
    return [event for event in told if not isinstance(event, Began | Shown | Deployed)]


def test_a_process_of_its_own_says_first_that_it_is_at_a_request_s_grammar(random_model: Path) -> None:
    """What compiles grammars may end the process, before the request has begun."""
    sound = deploy(ServeConfig(model=random_model, engine=ParrotOptions(cells=4096, max_batch=3)))
    free = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "?"}]), max_tokens=8)
    held = replace(free, grammar=Grammar.choice(["yes"], asked_by="guided_choice"))
    sent: list[list[Event]] = []
    inbox: queue.Queue[Command] = queue.Queue()
    for number, request in enumerate((free, held), start=1):
        inbox.put(Submit(number=number, request=request, probes=False))
    inbox.put(Stop())
    LoopDriver(sound.loop, sent.append, inbox=inbox, apart=True).run()
    events = [event for batch in sent for event in batch]
    assert [event for event in events if isinstance(event, Handled)] == [
        Handled(number=2, over=False),
        Handled(number=2, over=True),
    ]
    assert [Handled(number=2, over=False)] in sent  # at once, before anything is done


def test_a_request_is_innocent_if_the_process_ends_at_the_next_one_s_grammar(random_model: Path) -> None:
    """Both are read at once, and so are no events sent between them but those that cannot wait."""
    sound = deploy(ServeConfig(model=random_model, engine=ParrotOptions(cells=4096, max_batch=3)))
    prompt = sound.chat.prompt([{"role": "user", "content": "?"}])
    asked = [
        ReasoningRequest(prompt=prompt, max_tokens=8, grammar=Grammar.choice([text], asked_by="guided_choice"))
        for text in ("yes", "no")
    ]
    ledger, inbox = Ledger(), queue.Queue[Command]()
    for number, request in enumerate(asked, start=1):
        command = Submit(number=number, request=request, probes=False)
        ledger.enter(command, now=0.0)
        inbox.put(command)
    inbox.put(Stop())
    sent: list[Event] = []

    def send(events: list[Event]) -> None:
        if Handled(number=2, over=False) not in sent:  # with which the process ends
            sent.extend(events)

    LoopDriver(sound.loop, send, inbox=inbox, apart=True).run()
    for fates in ([Fate.AGAIN, Fate.AGAIN], [Fate.AGAIN, Fate.GUILTY]):
        for event in sent:
            if isinstance(event, Handled):
                ledger.handled(event.number, over=event.over)
        assert [ledger.fate(number) for number in (1, 2)] == fates


def test_ticks_probes_and_decisions_are_the_same_record_for_record(random_model: Path) -> None:
    sound = deploy(ServeConfig(model=random_model, engine=ParrotOptions(cells=4096, max_batch=3)))
    benches = Bench(sound, random_model), Bench(sound, random_model)
    told = [serve(bench, commands(sound)) for serve, bench in zip((in_one_process, in_two), benches, strict=True)]
    assert told[0] == told[1]
    assert over(told[0]) == REQUESTS
    one, two = benches
    assert one.engine.steps == two.engine.steps
    assert len(one.records) > 5
    assert one.records == two.records


def test_texts_wait_for_each_other_where_steps_are_short_and_all_come(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = deploy(ServeConfig(model=random_model, engine=ParrotOptions(cells=4096, max_batch=3)))
    told, sends = [], []
    for hold_s in (0.0, 60.0):
        monkeypatch.setattr(driver, "HOLD_S", hold_s)
        sent: list[int] = []
        told.append(in_one_process(Bench(sound, random_model), commands(sound), sent))
        sends.append(len(sent))
    assert told[0] == told[1]
    assert sends[1] < sends[0] / 2


def test_texts_that_nobody_reads_yet_come_with_the_end_of_their_reply(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "HOLD_S", 0.0)
    sound = deploy(ServeConfig(model=random_model, engine=ParrotOptions(cells=4096, max_batch=3)))
    told, sends = [], []
    for streamed in (True, False):
        asked = [
            msgspec.structs.replace(command, streamed=streamed, probes=False)
            if isinstance(command, Submit)
            else command
            for command in commands(sound)
        ]
        sent: list[int] = []
        told.append(in_one_process(Bench(sound, random_model), asked, sent))
        sends.append(len(sent))
    assert told[0] == told[1]
    assert sends[1] < sends[0] / 4
