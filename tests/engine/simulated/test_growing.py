"""A simulated engine whose sequences take cells as they grow: never more than there are, and nobody is lost."""

from __future__ import annotations

from engine.base import Event, Finished, Started, Tokens
from engine.simulated.engine import SimulatedEngine
from engine.simulated.growing import GrowingEngine
from engine.simulated.machine import Machine, VirtualClock
from models.profile.plant import StepTime
from tests.engine.simulated.test_engine import SPEC, Counting, machine, request


def grown(cells: int) -> Machine:
    return machine(StepTime(a=1.0, c=0.1), cells=cells, prefill_s=0.01, growing=True)


def served(engine: SimulatedEngine, count: int, *, new: int = 60) -> tuple[list[Event], int]:
    """Has so many requests served; no step may hold more cells than there are.

    Returns their events, and in how many steps fewer ran than before although none had ended: they had given way.
    """
    waiting = {engine.submit(request(new=new)) for _ in range(count)}
    events: list[Event] = []
    running, given_way = 0, 0
    while waiting:
        told = engine.step()
        events += told
        ended = {event.sequence for event in told if isinstance(event, Finished)}
        waiting -= ended
        load = engine.load()
        assert load.cells_reserved <= load.cells_total
        given_way += load.running < running and not ended
        running = load.running
    return events, given_way


def test_more_start_than_could_all_end_and_each_says_all_it_has_to_say() -> None:
    engine = GrowingEngine(Counting(), grown(200), VirtualClock())
    events, given_way = served(engine, 6)
    assert given_way > 0
    said: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, Tokens):
            said.setdefault(event.sequence, []).extend(event.tokens)
    assert sorted(map(len, said.values())) == [60] * 6
    assert all(tokens == list(range(1, 61)) for tokens in said.values())
    first = [event.sequence for event in events if isinstance(event, Started)]
    assert first == sorted(first)
    assert engine.load().cells_reserved == 0


def test_with_cells_for_all_it_is_the_engine_that_reserves() -> None:
    clocks = VirtualClock(), VirtualClock()
    (reserving, _), (growing, given_way) = [
        served(kind(Counting(), grown(100_000), clock), 6)
        for kind, clock in zip((SimulatedEngine, GrowingEngine), clocks, strict=True)
    ]
    assert reserving == growing
    assert given_way == 0
    assert clocks[0].now == clocks[1].now


def test_it_starts_what_one_that_reserves_lets_wait() -> None:
    reserved = SimulatedEngine(Counting(), grown(200), VirtualClock())
    growing = GrowingEngine(Counting(), grown(200), VirtualClock())
    for engine in (reserved, growing):
        for _ in range(6):
            engine.submit(request(new=60))
        engine.step()
    assert reserved.load().running == 200 // (4 + 60 + SPEC.room)
    assert growing.load().running == 6
    assert growing.capabilities.growing
    assert not reserved.capabilities.growing
