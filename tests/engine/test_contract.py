"""The contract of engine.base, verb by verb, held against every engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from engine.base import (
    CapacityError,
    Engine,
    EngineLoad,
    Finished,
    FinishReason,
    Probed,
    ProbeId,
    Sampling,
    SequenceError,
    SequenceId,
    Started,
    TokenError,
    Tokens,
)
from models.score import Score
from tests.engine.conftest import EngineUnderTest
from tests.support.engine_requests import ROOM, decode, request, spec, tokens
from tests.support.ledger import Ledger
from tests.support.tiny_models import VOCABULARY


def open_(tested: EngineUnderTest, cells: int = 512, batch: int = 8, chunk: int = 16) -> Engine:
    return tested.open(cells, batch, chunk)


def decoding(tested: EngineUnderTest, **options: object) -> tuple[Ledger, SequenceId]:
    """A ledger whose one sequence has a few tokens already."""
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(request(new=30, **options))
    for _ in range(4):
        ledger.step()
    return ledger, sequence


def probed(ledger: Ledger) -> Probed:
    """The answer of the probe that runs."""
    for _ in range(50):
        answers = ledger.step()
        if answers:
            return answers[0]
    raise AssertionError("the probe never ended")


def finish(ledger: Ledger, tested: EngineUnderTest) -> None:
    ledger.run()
    ledger.verify(tested.oracle)


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


def test_a_draw_depends_on_seed_and_position_alone(tested: EngineUnderTest) -> None:
    tested.must_draw()
    if not tested.batch_invariant:
        pytest.skip("logits are rounded by what is beside them")
    sampled = [request(4 + i, 20, seed=i, sampling=Sampling(temperature=1.0, seed=i)) for i in range(6)]
    alone = [decode(open_(tested), one_)[0] for one_ in sampled]
    assert decode(open_(tested), *sampled) == alone
    assert decode(open_(tested, chunk=3), *reversed(sampled)) == alone[::-1]
    assert decode(open_(tested, batch=2), *sampled) == alone


def test_another_seed_draws_other_tokens(one: EngineUnderTest) -> None:
    one.must_draw()
    base = request(4, 20)
    drawn = decode(open_(one), *(replace(base, sampling=Sampling(temperature=1.0, seed=i)) for i in range(8)))
    assert len(set(drawn)) == 8


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
    one.must_draw()
    (drawn,) = decode(open_(one), request(sampling=Sampling(temperature=1.0, seed=seed)))
    assert len(drawn) == 8


def test_a_vanishing_temperature_is_greedy(one: EngineUnderTest) -> None:
    one.must_draw()
    greedy = decode(open_(one), request())
    assert decode(open_(one), request(sampling=Sampling(temperature=1e-310))) == greedy


# --- stops


def test_stop_tokens_cannot_be_sampled_until_they_are_armed(tested: EngineUnderTest) -> None:
    base = request(6, 20)
    first = tested.oracle.generate(base.prompt, 1)[0]
    armed = replace(base, stop_tokens=frozenset({first}))
    assert decode(open_(tested), armed) == [(first,)]
    ledger = Ledger(open_(tested))
    for sampling in (Sampling(), Sampling(temperature=1.0 if tested.draws else 0.0)):
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


# --- probes


@pytest.mark.parametrize("back", [0, 1, 3])
def test_a_probe_answers_as_generate_would_and_leaves_its_sequence_alone(tested: EngineUnderTest, back: int) -> None:
    ledger, sequence = decoding(tested)
    ledger.fork(sequence, spec(), back=back)
    answer = probed(ledger)
    assert answer.terminator is None
    assert len(answer.answer) == len(answer.log_probs) == 4
    finish(ledger, tested)


def test_an_answer_ends_before_its_terminator(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    for seed in range(20):
        asked = spec(answer=6, seed=seed)
        context = (*ledger.accounts[sequence].context, *asked.suffix)
        whole = tested.oracle.generate(context, 6)
        at = next((i for i in range(1, 6) if whole[i] not in whole[:i]), 0)
        if at:
            break
    assert at, "no suffix has an answer of two different tokens"
    ledger.fork(sequence, replace(asked, answer_stops=frozenset({whole[at]})))
    answer = probed(ledger)
    assert (answer.answer, answer.terminator) == (tuple(whole[:at]), whole[at])
    assert len(answer.log_probs) == at  # the terminator does not count
    finish(ledger, tested)


def test_an_answer_that_ends_at_once_is_empty_and_worth_nothing(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    asked = spec()
    first = tested.oracle.generate((*ledger.accounts[sequence].context, *asked.suffix), 1)[0]
    ledger.fork(sequence, replace(asked, answer_stops=frozenset({first}), give_up_below=0.5))
    answer = probed(ledger)
    assert (answer.answer, answer.terminator, answer.confidence) == ((), first, 0.0)
    finish(ledger, tested)


@pytest.mark.parametrize("score", list(Score))
def test_giving_up_never_changes_the_verdict(tested: EngineUnderTest, score: Score) -> None:
    cheaper = 0
    for seed in range(6):
        verdicts = []
        for give_up in (0.0, 0.3):
            ledger, sequence = decoding(tested, seed=seed)
            ledger.fork(sequence, spec(seed=seed, score=score, give_up_below=give_up))
            answer = probed(ledger)
            verdicts.append(not answer.gave_up and answer.confidence >= 0.3)
            cheaper += answer.gave_up
            finish(ledger, tested)
        assert verdicts[0] == verdicts[1]
    assert cheaper > 0


@pytest.mark.parametrize("back", range(4))
def test_a_probe_tells_how_far_a_token_was_from_being_drawn(tested: EngineUnderTest, back: int) -> None:
    """The last token before the place that is asked about is read again."""
    for watched in (0, 77, None):
        ledger, sequence = decoding(tested)
        context = ledger.accounts[sequence].context
        before = context[: len(context) - back]
        likeliest = tested.oracle.generate(before, 1)[0]
        reread = spec(suffix=1, answer=1, watched=likeliest if watched is None else watched)
        ledger.fork(sequence, replace(reread, suffix=before[-1:]), back=back + 1)
        answer = probed(ledger)
        assert answer.gap is not None
        if watched is None:
            assert answer.gap == pytest.approx(0.0, abs=tested.oracle.LOG_PROB)
        else:
            exact = tested.oracle.log_probs(before, [likeliest]) - tested.oracle.log_probs(before, [watched])
            assert answer.gap == pytest.approx(float(exact[0]), abs=2 * tested.oracle.LOG_PROB)
            assert answer.gap > 0.1, "the two are too much alike to tell anything"
        assert answer.rows <= 2  # or the newest token again, too
        finish(ledger, tested)


def test_the_gap_is_that_of_the_answer_s_first_place_alone(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    asked = spec(watched=5)
    first = tested.oracle.generate((*ledger.accounts[sequence].context, *asked.suffix), 1)[0]
    gaps = []
    for stops in (frozenset[int](), frozenset({first})):  # whether or not the answer ends there
        ledger.fork(sequence, replace(asked, answer_stops=stops))
        gaps.append(probed(ledger).gap)
        ledger, sequence = decoding(tested)
    assert gaps[0] == pytest.approx(gaps[1], abs=tested.oracle.LOG_PROB)
    ledger.fork(sequence, spec())
    assert probed(ledger).gap is None
    finish(ledger, tested)


def test_sequences_probed_together_all_answer_in_one_step(tested: EngineUnderTest) -> None:
    ledger = Ledger(open_(tested))
    sequences = [ledger.submit(request(4, 30, seed=i)) for i in range(5)]
    for _ in range(3):
        ledger.step()
    for i, sequence in enumerate(sequences):
        ledger.fork(sequence, spec(seed=i), back=i % 3)
    answers: list[Probed] = []
    while not answers:
        answers = ledger.step()
    assert {answer.sequence for answer in answers} == set(sequences)
    for answer in answers[::2]:  # some are kept, some not
        ledger.adopt(answer.sequence, answer.probe, keep=5)
    finish(ledger, tested)


def test_one_sequence_can_be_probed_again_and_again(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    for seed in range(4):
        ledger.fork(sequence, spec(suffix=2, answer=2, seed=seed), back=seed)
        probed(ledger)
    finish(ledger, tested)


@pytest.mark.parametrize("new", range(8, 13))
def test_a_parent_may_finish_before_with_or_after_its_probe(tested: EngineUnderTest, new: int) -> None:
    """The probe asked after four tokens ends at the eighth."""
    ledger = Ledger(open_(tested))
    sequence = ledger.submit(request(new=new - 2))
    other = ledger.submit(request(new=20, seed=5))
    for _ in range(4):
        ledger.step()
    probe = ledger.fork(sequence, spec())
    for _ in range(5):
        ledger.step()
        if ledger.accounts[sequence].over:
            with pytest.raises(SequenceError, match=str(probe)):
                ledger.engine.adopt(probe, keep=1)
            break
    assert not ledger.accounts[other].over
    finish(ledger, tested)


@pytest.mark.parametrize("keep", range(1, 8))
@pytest.mark.parametrize("back", [0, 2])
def test_adopting_goes_on_from_the_kept_part_of_the_probe(tested: EngineUnderTest, keep: int, back: int) -> None:
    ledger, sequence = decoding(tested)
    ledger.fork(sequence, spec(), back=back)
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=keep)
    ledger.step()
    kept = ledger.asked[answer.probe].spec.suffix + answer.answer
    start = ledger.asked[answer.probe].fork_at
    assert tuple(ledger.accounts[sequence].tokens[start : start + keep]) == kept[:keep]
    finish(ledger, tested)


def test_adopting_the_last_tokens_there_are_finishes_the_sequence(one: EngineUnderTest) -> None:
    ledger = Ledger(open_(one))
    sequence = ledger.submit(request(new=11))
    for _ in range(4):
        ledger.step()
    ledger.fork(sequence, spec())  # 4 + 7 tokens
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=7)
    ledger.step()
    assert ledger.accounts[sequence].finished is FinishReason.LENGTH
    finish(ledger, one)


@pytest.mark.parametrize("back", [0, 2])
@pytest.mark.parametrize("keep", [1, 7])
def test_what_is_adopted_may_be_continued_by_force(tested: EngineUnderTest, keep: int, back: int) -> None:
    ledger, sequence = decoding(tested)
    ledger.fork(sequence, spec(), back=back)
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=keep, then=(7, 7, 8))
    ledger.step()
    start = ledger.asked[answer.probe].fork_at
    path = ledger.asked[answer.probe].spec.suffix + answer.answer
    assert tuple(ledger.accounts[sequence].tokens[start : start + keep + 3]) == (*path[:keep], 7, 7, 8)
    finish(ledger, tested)


def test_adopting_more_than_was_reserved_is_refused(one: EngineUnderTest) -> None:
    ledger = Ledger(open_(one))
    sequence = ledger.submit(request(new=10))
    for _ in range(4):
        ledger.step()
    ledger.fork(sequence, spec())
    answer = probed(ledger)
    with pytest.raises(CapacityError, match=r"(?s)11.*10"):
        ledger.engine.adopt(answer.probe, keep=7)
    with pytest.raises(CapacityError, match=r"(?s)11.*10"):
        ledger.engine.adopt(answer.probe, keep=4, then=(1, 2, 3))
    with pytest.raises(TokenError, match="what follows the probe has token 128, must lie in 0…127"):
        ledger.engine.adopt(answer.probe, keep=4, then=(1, VOCABULARY))
    finish(ledger, one)


def test_a_verdict_must_be_acted_on_before_the_next_step(one: EngineUnderTest) -> None:
    ledger, sequence = decoding(one)
    ledger.fork(sequence, spec())
    answer = probed(ledger)
    ledger.step()
    with pytest.raises(SequenceError, match="lapsed"):
        ledger.engine.adopt(answer.probe, keep=1)
    finish(ledger, one)


@pytest.mark.parametrize("steps", range(5))
def test_a_dropped_probe_leaves_its_sequence_alone(tested: EngineUnderTest, steps: int) -> None:
    ledger, sequence = decoding(tested)
    probe = ledger.fork(sequence, spec(), back=2)
    for _ in range(steps):
        ledger.step()
    rows = ledger.drop(probe)
    assert rows == (0 if steps == 0 else tested.rows_after(3, steps))
    assert ledger.engine.load().probing == 0
    ledger.fork(sequence, spec(seed=1), back=1)
    probed(ledger)
    finish(ledger, tested)


def test_dropping_what_is_gone_costs_nothing(one: EngineUnderTest) -> None:
    ledger, sequence = decoding(one)
    ledger.fork(sequence, spec())
    answer = probed(ledger)
    ledger.step()
    assert ledger.engine.drop(answer.probe) == 0
    assert ledger.engine.drop(ProbeId(999)) == 0
    finish(ledger, one)


def test_a_probe_that_runs_cannot_be_adopted(one: EngineUnderTest) -> None:
    ledger, sequence = decoding(one)
    probe = ledger.fork(sequence, spec())
    ledger.step()
    with pytest.raises(SequenceError, match=str(probe)):
        ledger.engine.adopt(probe, keep=1)


@pytest.mark.parametrize("keep", [0, 8])
def test_only_what_the_path_holds_can_be_kept(one: EngineUnderTest, keep: int) -> None:
    ledger, sequence = decoding(one)
    ledger.fork(sequence, spec())
    answer = probed(ledger)
    with pytest.raises(SequenceError, match=f"keep is {keep}"):
        ledger.engine.adopt(answer.probe, keep=keep)


def test_one_probe_at_a_time_runs_on_a_sequence(one: EngineUnderTest) -> None:
    ledger, sequence = decoding(one)
    ledger.fork(sequence, spec())
    with pytest.raises(SequenceError, match="already"):
        ledger.engine.fork(sequence, spec())


def test_a_probe_longer_than_the_room_reserved_is_refused(one: EngineUnderTest) -> None:
    ledger, sequence = decoding(one)
    with pytest.raises(CapacityError, match=rf"(?s){ROOM + 1}.*{ROOM}"):
        ledger.engine.fork(sequence, spec(suffix=8, answer=ROOM - 8))
    ledger.fork(sequence, spec(suffix=7, answer=ROOM - 8))


@pytest.mark.parametrize("back", [-1, 5])
def test_a_fork_lies_among_the_new_tokens(one: EngineUnderTest, back: int) -> None:
    ledger, sequence = decoding(one)
    with pytest.raises(SequenceError, match=f"back is {back}, must lie in 0…4"):
        ledger.engine.fork(sequence, spec(), back=back)


# --- force


def test_forced_tokens_come_back_once_and_in_order(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    ledger.force(sequence, (7, 7, 8))
    ledger.step()
    assert ledger.accounts[sequence].tokens[4:7] == [7, 7, 8]
    finish(ledger, tested)


def test_forcing_drops_a_running_probe(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    ledger.fork(sequence, spec(), back=1)
    ledger.step()
    ledger.step()
    ledger.force(sequence, (1, 2))
    assert ledger.engine.load().probing == 0
    finish(ledger, tested)


def test_forcing_beyond_the_last_token_is_refused(one: EngineUnderTest) -> None:
    ledger = Ledger(open_(one))
    sequence = ledger.submit(request(new=6))
    for _ in range(4):
        ledger.step()
    with pytest.raises(CapacityError, match=r"(?s)7.*6"):
        ledger.engine.force(sequence, (1, 2, 3))
    ledger.force(sequence, (1, 2))
    ledger.step()
    assert ledger.accounts[sequence].finished is FinishReason.LENGTH
    finish(ledger, one)


@pytest.mark.parametrize("state", ["unknown", "waiting", "prefill", "ended", "cancelled"])
def test_only_a_decoding_sequence_is_forked_and_forced(one: EngineUnderTest, state: str) -> None:
    engine = open_(one, batch=1, chunk=4)
    first = engine.submit(request(10, 1))
    sequence = SequenceId(999) if state == "unknown" else first
    if state == "waiting":
        sequence = engine.submit(request())
    elif state != "unknown":
        engine.step()
    if state == "ended":
        engine.step()
        engine.step()
    elif state == "cancelled":
        engine.cancel(sequence)
    with pytest.raises(SequenceError, match=str(sequence)):
        engine.fork(sequence, spec())
    with pytest.raises(SequenceError, match=str(sequence)):
        engine.force(sequence, tokens(1, 0))


def test_an_unknown_probe_cannot_be_adopted(one: EngineUnderTest) -> None:
    with pytest.raises(SequenceError, match="999"):
        open_(one).adopt(ProbeId(999), keep=1)
