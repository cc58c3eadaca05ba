"""The contract of engine.base for pauses, held against every engine that can pause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base import SequenceError, SequenceId, Tokens
from tests.support.engine_requests import ROOM, request, search, spec
from tests.support.engines import EngineUnderTest, finish, open_, probed
from tests.support.ledger import Ledger


def decoding(ledger: Ledger, count: int = 2, new: int = 20) -> list[SequenceId]:
    """So many sequences that each have some tokens."""
    sequences = [ledger.submit(request(6, new, seed=i)) for i in range(count)]
    while not all(ledger.accounts[sequence].decoding for sequence in sequences):
        ledger.step()
    return sequences


def test_a_paused_sequence_gets_no_token_and_later_the_same_ones(tested: EngineUnderTest) -> None:
    """Its tokens are checked against the oracle, who knows of no pause."""
    tested.must_have("pausing")
    ledger = Ledger(open_(tested))
    first, second = decoding(ledger)
    ledger.pause(first)
    had = len(ledger.accounts[first].tokens)
    while not ledger.accounts[second].over:
        ledger.step()
    assert len(ledger.accounts[first].tokens) == had
    ledger.resume(first)
    finish(ledger, tested)
    assert len(ledger.accounts[first].tokens) == 20


def test_tokens_are_the_same_with_and_without_a_pause(tested: EngineUnderTest) -> None:
    tested.must_have("pausing")
    found = []
    for pauses in (False, True):
        ledger = Ledger(open_(tested))
        first, second = decoding(ledger)
        if pauses:
            ledger.pause(first)
            ledger.step()
            ledger.step()
            ledger.resume(first)
        finish(ledger, tested)
        found.append([ledger.accounts[sequence].tokens for sequence in (first, second)])
    assert found[0] == found[1]


def test_another_takes_the_place_of_a_paused_sequence(tested: EngineUnderTest) -> None:
    tested.must_have("pausing")
    ledger = Ledger(open_(tested, batch=1))
    (first,) = decoding(ledger, 1)
    second = ledger.submit(request(4, 5, seed=7))
    ledger.pause(first)
    load = ledger.engine.load()
    assert (load.running, load.waiting, load.paused) == (0, 1, 1)
    assert load.cells_reserved == 0 if tested.rests else load.cells_reserved >= 6 + 20 + ROOM
    while not ledger.accounts[second].over:
        ledger.step()
    ledger.resume(first)
    ledger.step()
    load = ledger.engine.load()
    assert (load.running, load.waiting, load.paused) == (1, 0, 0)
    finish(ledger, tested)


def test_a_resumed_sequence_goes_on_before_those_that_wait(tested: EngineUnderTest) -> None:
    tested.must_have("pausing")
    ledger = Ledger(open_(tested, batch=1))
    (first,) = decoding(ledger, 1)
    ledger.pause(first)
    second, third = (ledger.submit(request(4, 5, seed=seed)) for seed in (7, 8))
    ledger.step()
    ledger.resume(first)
    while not ledger.accounts[second].over:
        assert ledger.engine.load().paused == 1  # the batch has no place yet
        ledger.step()
    while not ledger.accounts[first].over:
        assert not ledger.accounts[third].started
        ledger.step()
    finish(ledger, tested)


def test_a_paused_sequence_can_be_cancelled_and_leaves_no_trace(tested: EngineUnderTest) -> None:
    tested.must_have("pausing")
    ledger = Ledger(open_(tested))
    first, second = decoding(ledger)
    for sequence in (first, second):
        ledger.pause(sequence)
    ledger.resume(second)
    for sequence in (first, second):
        ledger.cancel(sequence)
    load = ledger.engine.load()
    assert (load.paused, load.cells_reserved) == (0, 0)
    ledger.submit(request(30, 20, seed=9))
    finish(ledger, tested)


def test_a_paused_sequence_can_be_neither_forked_nor_forced_and_stays_paused(one: EngineUnderTest) -> None:
    one.must_have("pausing")
    ledger = Ledger(open_(one))
    first, second = decoding(ledger)
    ledger.pause(first)
    ledger.pause(first)
    with pytest.raises(SequenceError, match="paused"):
        ledger.engine.fork(first, spec())
    with pytest.raises(SequenceError, match="paused"):
        ledger.engine.force(first, (1,))
    ledger.resume(first)
    ledger.pause(first)  # before it went on
    events = ledger.engine.step()
    ledger.note(events)
    assert {event.sequence for event in events if isinstance(event, Tokens)} <= {second}
    ledger.resume(first)
    finish(ledger, one)


def test_what_is_not_decoding_or_is_being_probed_cannot_be_paused(one: EngineUnderTest) -> None:
    one.must_have("pausing")
    ledger = Ledger(open_(one, batch=1))
    waiting = ledger.submit(request(4, 4, seed=3))
    for unknown in (waiting, SequenceId(999)):
        with pytest.raises(SequenceError, match=f"sequence {unknown} is not decoding"):
            ledger.engine.pause(unknown)
    ledger.cancel(waiting)
    (sequence,) = decoding(ledger, 1)
    ledger.fork(sequence, spec(answer=6))
    with pytest.raises(SequenceError, match="has a running probe"):
        ledger.engine.pause(sequence)
    ledger.step()
    ledger.engine.drop(ledger.accounts[sequence].probe)  # type: ignore[arg-type]
    ledger.accounts[sequence].probe = None
    ledger.run()


def test_forced_tokens_must_be_told_before_a_pause(one: EngineUnderTest) -> None:
    one.must_have("pausing")
    ledger = Ledger(open_(one))
    (sequence,) = decoding(ledger, 1)
    ledger.force(sequence, (3, 4))
    with pytest.raises(SequenceError, match="is not decoding"):
        ledger.engine.pause(sequence)
    finish(ledger, one)


def test_a_probe_that_has_answered_lapses_with_a_pause(tested: EngineUnderTest) -> None:
    tested.must_have("pausing")
    ledger = Ledger(open_(tested))
    first, second = decoding(ledger, new=30)
    ledger.fork(first, spec())
    answer = probed(ledger)
    ledger.pause(first)
    with pytest.raises(SequenceError, match="has lapsed"):
        ledger.engine.adopt(answer.probe, keep=1)
    ledger.step()
    ledger.resume(first)
    ledger.step()
    ledger.fork(second, spec(seed=5))
    finish(ledger, tested)


def test_stops_and_bans_that_change_during_a_pause_hold_after_it(tested: EngineUnderTest) -> None:
    tested.must_have("pausing", "masks")
    plain = Ledger(open_(tested))
    alone = plain.submit(request(6, 20))
    plain.run()
    likely = plain.accounts[alone].tokens[8]
    ledger = Ledger(open_(tested))
    stops = frozenset({plain.accounts[alone].tokens[12]})
    sequence = ledger.submit(replace(request(6, 20), stop_tokens=stops, stops_armed=False))
    while not ledger.accounts[sequence].decoding:
        ledger.step()
    ledger.pause(sequence)
    ledger.ban(sequence, frozenset({likely}))
    ledger.arm(sequence)
    ledger.step()
    ledger.resume(sequence)
    finish(ledger, tested)
    assert likely not in ledger.accounts[sequence].tokens[1:]


@search(40)
@given(data=st.data())
def test_any_schedule_of_pauses_tells_every_token_once(one: EngineUnderTest, data: st.DataObject) -> None:
    ledger = Ledger(open_(one, batch=2))
    sequences: list[SequenceId] = []
    for number in range(data.draw(st.integers(10, 40), label="moves")):
        move = data.draw(st.sampled_from(("submit", "step", "step", "pause", "resume", "cancel")), label="move")
        accounts = {sequence: ledger.accounts[sequence] for sequence in sequences}
        can = [one for one, account in accounts.items() if account.decoding]
        paused = [one for one, account in accounts.items() if account.paused and not account.over]
        if move == "submit" and len(sequences) < 6:
            sequences.append(ledger.submit(request(1 + number % 9, 1 + 3 * (number % 5), seed=number)))
        elif move == "pause" and can:
            ledger.pause(data.draw(st.sampled_from(can), label="which"))
        elif move == "resume" and paused:
            ledger.resume(data.draw(st.sampled_from(paused), label="which"))
        elif move == "cancel" and sequences and data.draw(st.booleans(), label="really"):
            ledger.cancel(data.draw(st.sampled_from(sequences), label="which"))
        else:
            ledger.step()
    for sequence in sequences:
        ledger.resume(sequence)
    ledger.run()
    ledger.verify(one.oracle)
