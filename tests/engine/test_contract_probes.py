"""What every engine does with probes: answers, adoptions, drops; and with tokens that are forced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.base import (
    MARGIN,
    CapacityError,
    FinishReason,
    Probed,
    ProbeId,
    SequenceError,
    SequenceId,
    TokenError,
)
from models.score import Score
from tests.support.engine_requests import ROOM, request, spec, tokens
from tests.support.engines import EngineUnderTest, decoding, finish, open_, probed
from tests.support.ledger import Ledger
from tests.support.tiny_models import VOCABULARY

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


@pytest.mark.slow
@pytest.mark.parametrize("score", list(Score))
def test_giving_up_never_changes_the_verdict(tested: EngineUnderTest, score: Score) -> None:
    cheaper = 0
    for seed in range(16):
        verdicts = []
        for give_up in (0.0, 0.6):
            ledger, sequence = decoding(tested, seed=seed)
            ledger.fork(sequence, spec(seed=seed, score=score, give_up_below=give_up))
            answer = probed(ledger)
            verdicts.append(not answer.gave_up and answer.confidence >= 0.6)
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
        margin = answer.readings[MARGIN]
        if watched is None:
            assert margin == pytest.approx(0.0, abs=tested.oracle.LOG_PROB)
        else:
            exact = tested.oracle.log_probs(before, [likeliest]) - tested.oracle.log_probs(before, [watched])
            assert margin == pytest.approx(float(exact[0]), abs=2 * tested.oracle.LOG_PROB)
            assert margin > 0.1, "the two are too much alike to tell anything"
        assert answer.rows <= 2  # or the newest token again, too
        finish(ledger, tested)


def test_the_gap_is_that_of_the_answer_s_first_place_alone(tested: EngineUnderTest) -> None:
    ledger, sequence = decoding(tested)
    asked = spec(watched=5)
    first = tested.oracle.generate((*ledger.accounts[sequence].context, *asked.suffix), 1)[0]
    gaps = []
    for stops in (frozenset[int](), frozenset({first})):  # whether or not the answer ends there
        ledger.fork(sequence, replace(asked, answer_stops=stops))
        gaps.append(probed(ledger).readings[MARGIN])
        ledger, sequence = decoding(tested)
    assert gaps[0] == pytest.approx(gaps[1], abs=tested.oracle.LOG_PROB)
    ledger.fork(sequence, spec())
    assert probed(ledger).readings == {}
    finish(ledger, tested)


@pytest.mark.slow
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
