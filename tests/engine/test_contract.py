"""The contract of engine.base, verb by verb, held against every engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from engine.base import (
    CapacityError,
    EngineLoad,
    Finished,
    FinishReason,
    Sampling,
    SequenceId,
    Started,
    TokenError,
    Tokens,
    UnsupportedError,
)
from engine.wrapper import EngineWrapper
from tests.support.engine_requests import ROOM, decode, request, spec
from tests.support.engines import EngineUnderTest, finish, open_, probed
from tests.support.ledger import Ledger
from tests.support.tiny_models import VOCABULARY

# --- submit and step


def test_sequences_that_join_one_by_one_decode_as_if_alone(tested: EngineUnderTest) -> None:
    ledger = Ledger(open_(tested))
    for i in range(12):  # more than fit at once: some wait; prompts longer than a prefill chunk among them
        ledger.submit(request(3 + 7 * i, 20 - i, seed=i))
        ledger.step()
        ledger.step()
    finish(ledger, tested)


def test_a_sequence_starts_grows_and_finishes_in_this_order(one: EngineUnderTest) -> None:
    engine = open_(one)
    sequence = engine.submit(request(new=2))
    events = [event for _ in range(4) for event in engine.step()]
    assert events[0] == Started(sequence=sequence)
    assert [type(event) for event in events] == [Started, Tokens, Tokens, Finished]
    assert events[-1] == Finished(sequence=sequence, reason=FinishReason.LENGTH)


def test_an_idle_engine_does_nothing(one: EngineUnderTest) -> None:
    engine = open_(one)
    assert engine.step() == []
    assert engine.load() == EngineLoad(running=0, waiting=0, probing=0, cells_reserved=0, cells_total=512)


def test_load_counts_what_runs_waits_and_is_probed(exact: EngineUnderTest) -> None:
    engine = open_(exact, batch=2)
    sequences = [engine.submit(request(5, 8)) for _ in range(3)]
    assert engine.load().waiting == 3
    engine.step()
    engine.fork(sequences[0], spec())
    engine.step()
    load = engine.load()
    assert (load.running, load.waiting, load.probing) == (2, 1, 1)
    assert load.cells_reserved == 2 * (5 + 8 + ROOM)


def test_a_long_prompt_does_not_stall_the_others(exact: EngineUnderTest) -> None:
    engine = open_(exact, chunk=4)
    short = engine.submit(request(2, 20))
    engine.step()
    long = engine.submit(request(40, 2))
    for _ in range(9):
        grown = [event.sequence for event in engine.step() if isinstance(event, Tokens)]
        assert grown == [short]
    assert {event.sequence for event in engine.step() if isinstance(event, Tokens)} == {short, long}


def test_a_request_that_can_never_fit_is_refused_with_need_and_limit(exact: EngineUnderTest) -> None:
    engine = open_(exact, cells=40)
    with pytest.raises(CapacityError, match=r"(?s)41.*40"):
        engine.submit(request(9, 20))
    assert engine.load().waiting == 0
    engine.submit(request(8, 20))


def test_a_sequence_longer_than_the_model_was_made_for_is_refused(one: EngineUnderTest) -> None:
    engine = open_(one, cells=4096)
    assert engine.max_tokens == 512
    with pytest.raises(CapacityError, match="512"):
        engine.submit(request(500, 20))


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_outside_the_vocabulary_is_refused(one: EngineUnderTest, token: int) -> None:
    engine = open_(one)
    with pytest.raises(TokenError, match=f"has token {token}, must lie in 0…127"):
        engine.submit(replace(request(), prompt=(1, token, 2)))
    sequence = engine.submit(request())
    engine.step()
    with pytest.raises(TokenError, match=f"has token {token}, must lie in 0…127"):
        engine.force(sequence, (1, token))
    with pytest.raises(TokenError, match=f"has token {token}, must lie in 0…127"):
        engine.fork(sequence, replace(spec(), suffix=(token,)))
    with pytest.raises(TokenError, match=f"watches has token {token}, must lie in 0…127"):
        engine.fork(sequence, spec(watched=token))


def test_cancelled_sequences_leave_no_trace(tested: EngineUnderTest) -> None:
    ledger = Ledger(open_(tested, batch=2))
    first, second, waiting = (ledger.submit(request(20, 20, seed=i)) for i in range(3))
    ledger.step()
    ledger.cancel(first)  # in prefill
    ledger.cancel(waiting)
    for _ in range(3):
        ledger.step()
    ledger.fork(second, spec())
    ledger.step()
    ledger.cancel(second)  # with a probe running
    assert ledger.engine.load().cells_reserved == 0
    ledger.submit(request(30, 20, seed=9))  # in the cells they left
    finish(ledger, tested)


def test_cancelling_what_is_gone_is_ignored(one: EngineUnderTest) -> None:
    engine = open_(one)
    sequence = engine.submit(request(new=1))
    engine.step()
    engine.cancel(sequence)
    engine.cancel(SequenceId(999))


def test_a_hole_left_between_two_sequences_is_closed_for_one_that_needs_it(tested: EngineUnderTest) -> None:
    """Compaction: the newcomer fits only once the sequence in the middle has moved, and its running probe with it."""
    ledger = Ledger(open_(tested, cells=150))
    left, middle, right = (ledger.submit(request(8, 30, seed=i)) for i in range(3))  # 50 cells each
    for _ in range(4):
        ledger.step()
    ledger.fork(middle, spec(), back=2)
    ledger.step()
    ledger.cancel(left)
    ledger.cancel(right)
    newcomer = ledger.submit(request(8, 60, seed=3))
    ledger.step()
    assert ledger.accounts[newcomer].started
    assert not ledger.accounts[middle].over
    answer = probed(ledger)
    ledger.adopt(middle, answer.probe, keep=4)
    finish(ledger, tested)


# --- sampling


@pytest.mark.slow
def test_a_draw_depends_on_seed_and_position_alone(tested: EngineUnderTest) -> None:
    tested.must_have("sampling", "batch_invariant")
    sampled = [request(4 + i, 20, seed=i, sampling=Sampling(temperature=1.0, seed=i)) for i in range(6)]
    alone = [decode(open_(tested), one_)[0] for one_ in sampled]
    assert decode(open_(tested), *sampled) == alone
    assert decode(open_(tested, chunk=3), *reversed(sampled)) == alone[::-1]
    assert decode(open_(tested, batch=2), *sampled) == alone


def test_another_seed_draws_other_tokens(one: EngineUnderTest) -> None:
    one.must_have("sampling")
    base = request(4, 20)
    drawn = decode(open_(one), *(replace(base, sampling=Sampling(temperature=1.0, seed=i)) for i in range(8)))
    assert len(set(drawn)) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.7),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=1.5, top_p=0.6),
        Sampling(temperature=1.2, top_k=12, top_p=0.8),
    ],
)
def test_first_tokens_are_distributed_as_the_oracle_says(exact: EngineUnderTest, sampling: Sampling) -> None:
    base, draws = request(6, 1), 3000
    drawn = decode(
        open_(exact, cells=2048, batch=64, chunk=512),
        *(replace(base, sampling=replace(sampling, seed=i)) for i in range(draws)),
    )
    p = np.exp(exact.oracle.logits(base.prompt)[-1] / sampling.temperature)
    if sampling.top_k:
        p[p < np.sort(p)[-sampling.top_k]] = 0.0
    p /= p.sum()
    order = np.argsort(-p)
    p[order[np.cumsum(p[order]) - p[order] >= sampling.top_p]] = 0.0
    p /= p.sum()
    counts = Counter(tokens_[0] for tokens_ in drawn)
    seen = np.array([counts[token] for token in range(len(p))])
    assert seen[p == 0.0].sum() == 0
    often = p * draws >= 5
    expected = np.append(p[often], p[~often].sum()) * draws
    observed = np.append(seen[often], seen[~often].sum())
    chi_square = ((observed - expected) ** 2 / np.maximum(expected, 1e-9))[expected > 0].sum()
    freedom = int((expected > 0).sum()) - 1
    assert chi_square < freedom + 4.0 * (2.0 * freedom) ** 0.5  # mean + 4 standard deviations


@pytest.mark.parametrize("seed", [-1, 2**63, 2**200])
def test_any_integer_is_a_seed(one: EngineUnderTest, seed: int) -> None:
    one.must_have("sampling")
    (drawn,) = decode(open_(one), request(sampling=Sampling(temperature=1.0, seed=seed)))
    assert len(drawn) == 8


def test_a_vanishing_temperature_is_greedy(one: EngineUnderTest) -> None:
    one.must_have("sampling")
    greedy = decode(open_(one), request())
    assert decode(open_(one), request(sampling=Sampling(temperature=1e-310))) == greedy


def test_what_an_engine_lacks_is_refused_by_name(one: EngineUnderTest) -> None:
    engine, has = open_(one), one.capabilities
    with pytest.raises(UnsupportedError, match=f"^x: the {has.engine} engine has no token masks$"):
        replace(has, masks=False).need("masks", "x")
    if not has.sampling:
        with pytest.raises(UnsupportedError, match=r"temperature is 0\.5, must be 0: .* has no sampling"):
            engine.submit(request(sampling=Sampling(temperature=0.5)))
    assert EngineWrapper(engine).capabilities == engine.capabilities


# --- stops


def test_stop_tokens_cannot_be_sampled_until_they_are_armed(tested: EngineUnderTest) -> None:
    base = request(6, 20)
    first = tested.oracle.generate(base.prompt, 1)[0]
    armed = replace(base, stop_tokens=frozenset({first}))
    assert decode(open_(tested), armed) == [(first,)]
    ledger = Ledger(open_(tested))
    for sampling in (Sampling(), Sampling(temperature=1.0 if tested.capabilities.sampling else 0.0)):
        ledger.submit(replace(armed, stops_armed=False, sampling=sampling))
    for _ in range(4):
        ledger.step()
    greedy, drawn = ledger.accounts
    stops = frozenset(tested.oracle.generate(ledger.accounts[greedy].context, 1))
    ledger.run()
    assert first not in ledger.accounts[greedy].tokens + ledger.accounts[drawn].tokens
    assert stops  # the oracle could tell


def test_an_armed_stop_ends_the_sequence(tested: EngineUnderTest) -> None:
    base = request(6, 30)
    whole = tested.oracle.generate(base.prompt, 30)
    stop = whole[12]
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(replace(base, stop_tokens=frozenset({stop}), stops_armed=False))
    for _ in range(3):
        ledger.step()
    ledger.arm(sequence)
    finish(ledger, tested)
    assert ledger.accounts[sequence].tokens.count(stop) <= 1


def test_stops_may_be_armed_while_a_sequence_waits(one: EngineUnderTest) -> None:
    base = request(6, 5)
    stop = one.oracle.generate(base.prompt, 1)[0]
    ledger = Ledger(open_(one))
    sequence = ledger.submit(replace(base, stop_tokens=frozenset({stop}), stops_armed=False))
    ledger.arm(sequence)
    ledger.run()
    assert ledger.accounts[sequence].tokens == [stop]


def test_arming_the_stops_of_what_is_gone_is_ignored(one: EngineUnderTest) -> None:
    """A sequence may end with the very token after which its stops are to be armed."""
    engine = open_(one)
    sequence = engine.submit(request(new=1))
    engine.step()
    engine.arm_stops(sequence)
    engine.arm_stops(SequenceId(999))


# --- bans


def test_banned_tokens_are_not_sampled_from_the_beginning(tested: EngineUnderTest) -> None:
    tested.must_have("masks")
    base = request(6, 20)
    banned = frozenset(tested.oracle.generate(base.prompt, 3))
    ledger = Ledger(open_(tested))
    greedy = ledger.submit(replace(base, banned=banned))
    drawn = [
        ledger.submit(replace(base, banned=banned, sampling=Sampling(temperature=1.0, seed=seed)))
        for seed in range(4 if tested.capabilities.sampling else 0)
    ]
    ledger.run()
    for sequence in (greedy, *drawn):
        assert banned.isdisjoint(ledger.accounts[sequence].tokens)
    tested.oracle.assert_continues(base.prompt, ledger.accounts[greedy].tokens, barred=banned)


def test_a_ban_holds_from_the_next_token_on_and_can_be_changed_and_lifted(tested: EngineUnderTest) -> None:
    tested.must_have("masks")
    base = request(6, 24)
    whole = tested.oracle.generate(base.prompt, 24)
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(base)
    account = ledger.accounts[sequence]
    while len(account.tokens) < 4:
        ledger.step()
    bans = frozenset(whole[4:7]), frozenset(whole[:4]), frozenset[int]()
    for banned in bans:
        ledger.ban(sequence, banned)
        for _ in range(6):
            ledger.step()
    finish(ledger, tested)  # with the oracle's own suppression at each place
    assert set(account.banned_at) == {frozenset[int](), *bans}


def test_a_ban_reaches_a_waiting_sequence_and_not_one_that_is_gone(one: EngineUnderTest) -> None:
    one.must_have("masks")
    base = request(6, 5)
    first = frozenset(one.oracle.generate(base.prompt, 1))
    ledger = Ledger(open_(one))
    sequence = ledger.submit(base)
    ledger.ban(sequence, first)
    ledger.run()
    assert first.isdisjoint(ledger.accounts[sequence].tokens)
    ledger.engine.ban(sequence, first)
    ledger.engine.ban(SequenceId(999), first)


def test_what_is_forced_and_what_a_probe_says_is_not_banned(tested: EngineUnderTest) -> None:
    tested.must_have("masks")
    base, asked = request(6, 30), spec(3, 4)
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(base)
    account = ledger.accounts[sequence]
    for _ in range(4):
        ledger.step()
    answer = tested.oracle.generate((*account.context, *asked.suffix), 4)
    ledger.ban(sequence, frozenset((*answer, *asked.suffix)))
    ledger.fork(sequence, asked)
    said = probed(ledger)
    assert said.answer == tuple(answer)  # with its own log probabilities, which finish() checks
    ledger.adopt(sequence, said.probe, keep=7, then=asked.suffix)
    finish(ledger, tested)
    assert account.tokens[:14][-10:] == [*asked.suffix, *answer, *asked.suffix]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_choice_that_a_ban_changes_is_told(one: EngineUnderTest, temperature: float) -> None:
    """Each sampled token stands as without the ban, or stands in a banned one's place and is told as averted."""
    one.must_have("masks", "sampling")
    base = request(6, 1)
    for seed in range(12):
        sampling = Sampling(temperature=temperature, seed=seed)
        ((free,),) = decode(open_(one), replace(base, sampling=sampling))
        for banned in (frozenset({free}), frozenset({free + 1 if free + 1 < VOCABULARY else 0})):
            ledger = Ledger(open_(one))
            sequence = ledger.submit(replace(base, sampling=sampling, banned=banned))
            ledger.run()
            account = ledger.accounts[sequence]
            assert account.averted == (free in banned)
            assert (account.tokens == [free]) == (free not in banned)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(temperature=1.0), Sampling(temperature=1.5)])
def test_under_a_ban_the_other_tokens_keep_their_proportions(exact: EngineUnderTest, sampling: Sampling) -> None:
    base, draws = request(6, 1), 3000
    p = np.exp(exact.oracle.logits(base.prompt)[-1] / sampling.temperature)
    banned = frozenset(np.argsort(-p)[:3].tolist())
    drawn = decode(
        open_(exact, cells=2048, batch=64, chunk=512),
        *(replace(base, banned=banned, sampling=replace(sampling, seed=i)) for i in range(draws)),
    )
    p[list(banned)] = 0.0
    p /= p.sum()
    seen = np.bincount([tokens_[0] for tokens_ in drawn], minlength=len(p))
    often = p * draws >= 5
    expected = np.append(p[often], p[~often].sum()) * draws
    observed = np.append(seen[often], seen[~often].sum())
    chi_square = ((observed - expected) ** 2 / np.maximum(expected, 1e-9))[expected > 0].sum()
    freedom = int((expected > 0).sum()) - 1
    assert chi_square < freedom + 4.0 * (2.0 * freedom) ** 0.5  # mean + 4 standard deviations


def test_a_ban_that_cannot_be_is_refused_with_the_value_and_the_limit(one: EngineUnderTest) -> None:
    one.must_have("masks")
    engine, last = open_(one), one.vocabulary - 1
    sequence = engine.submit(request())
    for banned in (frozenset({last + 1}), frozenset({-1})):
        with pytest.raises(TokenError, match=rf"^what is banned has token {min(banned)}, must lie in 0…{last}$"):
            engine.ban(sequence, banned)
    for step in (engine.step, lambda: None):  # while it waits, and while it runs
        with pytest.raises(TokenError, match=r"tokens are banned, which leaves 0 of \d+ to sample, must leave 1$"):
            engine.ban(sequence, frozenset(range(one.vocabulary)))
        step()
    with pytest.raises(TokenError, match=r"leaves 0 of"):
        engine.submit(request(banned=frozenset(range(1, one.vocabulary)), stop_tokens=frozenset({0})))
