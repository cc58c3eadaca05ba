"""The contract of constraints, log probabilities, penalties and shared prompts, against float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from controller.serving.choices.recital import reciting
from engine.base import (
    Finished,
    FinishReason,
    Request,
    Sampling,
    SequenceId,
    TokenError,
    Tokens,
    UnsupportedError,
)
from engine.constraint import Constraint
from tests.support.constraints import ConstraintError, InTurn, in_turn
from tests.support.engine_requests import decode, request, spec
from tests.support.engines import EngineUnderTest, decoding, finish, open_, probed
from tests.support.ledger import Ledger
from tests.support.tiny_models import VOCABULARY

WARM = Sampling(temperature=1.0, seed=3)


# --- constraints


def test_under_a_constraint_each_token_is_the_likeliest_that_it_allows(sampled: EngineUnderTest) -> None:
    ledger = Ledger(open_(sampled))
    free = ledger.submit(request(7, 12, seed=9))
    for seed in range(3):
        ledger.submit(request(6 + seed, 12, seed=seed, constraint=in_turn(seed, size=(1, 20, 120)[seed])))
    finish(ledger, sampled)
    assert not ledger.accounts[free].constrained


def test_a_constraint_can_be_changed_and_lifted_and_reaches_one_that_waits(sampled: EngineUnderTest) -> None:
    ledger = Ledger(open_(sampled))
    sequence = ledger.submit(request(6, 24))
    ledger.constrain(sequence, in_turn(1))
    for held in (in_turn(2), None, in_turn(3, size=3)):
        for _ in range(4):
            ledger.step()
        ledger.constrain(sequence, held)
    finish(ledger, sampled)
    assert 0 < sum(allowed is None for allowed in ledger.accounts[sequence].allowed_at) < 24
    ledger.engine.constrain(sequence, in_turn(1))
    ledger.engine.constrain(SequenceId(999), in_turn(1))


def test_no_draw_leaves_the_mask(sampled: EngineUnderTest) -> None:
    for size in (4, 90):
        held = [in_turn(seed, size=size) for seed in range(8)]
        told = decode(
            open_(sampled),
            *(
                request(6, 12, constraint=one.copy(), sampling=Sampling(temperature=4.0, seed=seed, top_p=0.9))
                for seed, one in enumerate(held)
            ),
        )
        for one, said in zip(held, told, strict=True):
            for token in said:
                one.accept(token)  # raises for what it does not allow
        assert len(set(told)) == len(held)


def test_a_stop_comes_where_the_mask_allows_it_and_nowhere_else(sampled: EngineUnderTest) -> None:
    stop = 5
    sets = tuple(one - {stop} for one in in_turn(4, sets=6).sets)
    held = InTurn(sets=sets, ends=frozenset({stop}))
    for armed in (True, False):  # where it is the only way to go on, an unarmed stop is one
        asked = request(6, 20, stop_tokens=frozenset({stop}), stops_armed=armed, constraint=held.copy())
        ledger = Ledger(open_(sampled))
        sequence = ledger.submit(asked)
        ledger.run()
        assert ledger.accounts[sequence].tokens.index(stop) == len(sets)
        assert ledger.accounts[sequence].finished is FinishReason.STOP
    both = InTurn(sets=(frozenset({stop, 7, 9}),), again=True)
    (said,) = decode(open_(sampled), replace(asked, constraint=both))  # the stop is not armed
    assert set(said) <= {7, 9}


@pytest.mark.parametrize("sampling", [Sampling(), WARM])
def test_a_ban_holds_among_the_tokens_allowed_and_yields_where_it_would_leave_none(
    sampled: EngineUnderTest, sampling: Sampling
) -> None:
    held = InTurn(sets=(frozenset({3, 4, 5}), frozenset({8})), again=True)
    asked = request(6, 12, constraint=held, sampling=sampling, banned=frozenset({3, 4, 8}))
    (said,) = decode(open_(sampled), asked)
    assert said == (5, 8) * 6


class Failing(InTurn):
    """It never has a mask."""

    def mask(self) -> npt.NDArray[np.uint32]:
        raise ConstraintError("too deep")


def test_what_can_go_on_by_no_token_ends_and_the_others_go_on(sampled: EngineUnderTest) -> None:
    ends = (
        (InTurn(sets=in_turn(1, sets=2).sets), FinishReason.STOP, ""),
        (InTurn(sets=(frozenset({1}), frozenset())), FinishReason.ERROR, "the constraint allows no token, and"),
        (Failing(sets=(frozenset({1}),)), FinishReason.ERROR, "the constraint failed: too deep"),
    )
    ledger = Ledger(open_(sampled))
    ledger.submit(request(5, 12, seed=8))
    sequences = [ledger.submit(request(6, 12, seed=i, constraint=held)) for i, (held, _, _) in enumerate(ends)]
    events = [event for _ in range(16) for event in _noted(ledger)]
    found = {event.sequence: event for event in events if isinstance(event, Finished)}
    for sequence, (_, reason, said) in zip(sequences, ends, strict=True):
        assert found[sequence].reason is reason
        assert (found[sequence].error or "").startswith(said)
    assert [len(ledger.accounts[sequence].tokens) for sequence in sequences] == [2, 1, 0]
    finish(ledger, sampled)


def _noted(ledger: Ledger) -> list[object]:
    events = ledger.engine.step()
    ledger.note(events)
    return list(events)


def test_forced_and_adopted_tokens_are_not_told_to_the_constraint(sampled: EngineUnderTest) -> None:
    ledger, sequence = decoding(sampled, constraint=in_turn(5, sets=30, size=9))
    ledger.force(sequence, (1, 2, 3))
    for _ in range(3):
        ledger.step()
    ledger.fork(sequence, spec())
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=5, then=(4,))
    finish(ledger, sampled)  # with a twin of the constraint, which takes the sampled tokens alone


@pytest.mark.parametrize("size", [2, 40])
def test_a_probe_answers_under_its_own_constraint(sampled: EngineUnderTest, size: int) -> None:
    """Its confidence is over the raw probabilities of the tokens that it took, which the ledger asks float64 for."""
    ledger, sequence = decoding(sampled, constraint=in_turn(5))
    asked = in_turn(6, sets=4, size=size)
    ledger.fork(sequence, spec(answer=4, constraint=asked))
    answer = probed(ledger)
    assert len(answer.answer) == 4
    assert not answer.complete
    assert asked.at == 0, "the probe has moved the caller's constraint"
    finish(ledger, sampled)


def test_a_probe_ends_where_its_constraint_is_complete(sampled: EngineUnderTest) -> None:
    ledger, sequence = decoding(sampled)
    for ends in (frozenset[int](), frozenset({7})):
        ledger.fork(sequence, spec(answer=6, constraint=InTurn(sets=in_turn(6, sets=2).sets, ends=ends)))
        answer = probed(ledger)
        assert (len(answer.answer), answer.complete, answer.gave_up) == (2, True, False)
        assert answer.confidence > 0.0
    ledger.fork(sequence, spec(answer=6, constraint=InTurn(sets=(frozenset({1}), frozenset()))))
    answer = probed(ledger)
    assert (answer.answer, answer.complete, answer.gave_up) == ((1,), False, False)
    finish(ledger, sampled)


def test_a_probe_whose_constraint_fails_gives_up_without_an_answer(sampled: EngineUnderTest) -> None:
    ledger, sequence = decoding(sampled)
    for failing in (Failing(sets=(frozenset({1}),)), InTurn(sets=(frozenset({1}), frozenset({-1})))):
        ledger.fork(sequence, spec(answer=6, constraint=failing))  # -1: its mask allows what it does not accept
        answer = probed(ledger)
        assert (answer.answer, answer.confidence, answer.gave_up) == ((), 0.0, True)
    ledger.run()


# --- log probabilities


@pytest.mark.parametrize("sampling", [Sampling(), WARM, replace(WARM, temperature=0.3, top_k=4)])
def test_sampled_tokens_are_told_with_the_model_s_own_log_probabilities(
    sampled: EngineUnderTest, sampling: Sampling
) -> None:
    """Neither temperature nor ban nor mask nor penalty changes them."""
    engine = open_(sampled)
    base = request(6, 8, log_probs=5, sampling=sampling)
    first = sampled.oracle.generate(base.prompt, 1)[0]
    biased = replace(sampling, presence_penalty=1.0, logit_bias=((first, -50.0),))
    requests = [
        base,
        replace(base, banned=frozenset({first})),
        replace(base, constraint=in_turn(3)),
        replace(base, sampling=biased, log_probs=0),
    ]
    sequences = {engine.submit(one): one for one in requests}
    silent = engine.submit(replace(base, log_probs=None))
    said: dict[SequenceId, list[int]] = {sequence: [] for sequence in sequences}
    while engine.load().running or engine.load().waiting:
        for event in engine.step():
            if not isinstance(event, Tokens):
                continue
            if event.sequence == silent:
                assert event.log_probs == ()
                continue
            asked = sequences[event.sequence]
            assert len(event.log_probs) == len(event.tokens)
            for token, told in zip(event.tokens, event.log_probs, strict=True):
                context = (*asked.prompt, *said[event.sequence])
                assert told is not None
                assert_told(sampled, context, token, told.log_prob, told.likeliest, asked.log_probs or 0)
                said[event.sequence].append(token)


def test_a_prompt_that_is_recited_is_told_token_by_token_whatever_it_has(sampled: EngineUnderTest) -> None:
    """Stop tokens and banned ones, too; a token that follows is neither."""
    engine = open_(sampled)
    asked: dict[SequenceId, tuple[Request, int]] = {}
    for seed, following in enumerate((0, 1, 1)):
        plain = request(9, 1, seed=seed, log_probs=3, probe_room=0, sampling=(Sampling(), WARM)[seed % 2])
        stop, ban = plain.prompt[4], plain.prompt[6]
        held = replace(plain, stop_tokens=frozenset({stop}), banned=frozenset({ban}))
        asked[engine.submit(reciting(held, following))] = held, following
    said: dict[SequenceId, list[int]] = {sequence: [] for sequence in asked}
    while engine.load().running or engine.load().waiting:
        for event in engine.step():
            if not isinstance(event, Tokens):
                continue
            prompt = asked[event.sequence][0].prompt
            for token, told in zip(event.tokens, event.log_probs, strict=True):
                context = (prompt[0], *said[event.sequence])
                assert told is not None
                assert_told(sampled, context, token, told.log_prob, told.likeliest, 3)
                said[event.sequence].append(token)
            if len(said[event.sequence]) == len(prompt) - 1:
                engine.constrain(event.sequence, None)
    for sequence, (held, following) in asked.items():
        recited, behind = said[sequence][:8], said[sequence][8:]
        assert tuple(recited) == held.prompt[1:]
        assert len(behind) == following
        assert not set(behind) & (held.stop_tokens | held.banned)


def assert_told(
    sampled: EngineUnderTest,
    context: Sequence[int],
    token: int,
    log_prob: float,
    likeliest: Sequence[tuple[int, float]],
    count: int,
) -> None:
    """A token's log probability and the likeliest ones are float64's, in float64's order but for ties."""
    logits = sampled.oracle.logits(context)[-1]
    exact = logits - logits.max()
    exact -= np.log(np.exp(exact).sum())
    within = sampled.oracle.LOG_PROB
    assert log_prob == pytest.approx(exact[token], abs=within)
    assert len(likeliest) == len({one for one, _ in likeliest}) == count
    for rank, (one, told) in enumerate(likeliest):
        assert told == pytest.approx(exact[one], abs=within)
        assert told == pytest.approx(np.sort(exact)[-1 - rank], abs=within)


def test_an_adopted_answer_is_told_with_its_own_and_what_is_forced_with_none(sampled: EngineUnderTest) -> None:
    ledger, sequence = decoding(sampled, log_probs=2)
    ledger.fork(sequence, spec(suffix=3, answer=4), back=1 if sampled.capabilities.trim else 0)
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=6, then=(1, 2))
    (forced,) = (event for event in _noted(ledger) if isinstance(event, Tokens) and event.forced)
    assert len(forced.log_probs) == len(forced.tokens) == 8
    assert [told is None for told in forced.log_probs] == [True] * 3 + [False] * 3 + [True] * 2
    told = [one for one in forced.log_probs if one is not None]
    assert [one.log_prob for one in told] == list(answer.log_probs[:3])
    assert all(len(one.likeliest) == 2 for one in told)
    finish(ledger, sampled)


# --- penalties, biases, cuts


def adjusted(logits: np.ndarray, sampling: Sampling, prompt: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """What the sampler sees, in float64: bias, then repetition, frequency and presence penalty."""
    logits = logits.copy()
    for token, bias in sampling.logit_bias:
        logits[token] += bias
    for token in {*prompt, *new}:
        by = sampling.repetition_penalty
        logits[token] = logits[token] / by if logits[token] > 0.0 else logits[token] * by
    for token in set(new):
        logits[token] -= sampling.frequency_penalty * list(new).count(token) + sampling.presence_penalty
    return logits


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(presence_penalty=1.5),
        Sampling(frequency_penalty=0.7),
        Sampling(repetition_penalty=1.4),
        Sampling(logit_bias=((3, 2.5), (7, -100.0), (9, 15.0))),
        Sampling(presence_penalty=-1.0, frequency_penalty=0.5, repetition_penalty=1.2, logit_bias=((4, 5.0),)),
    ],
)
def test_penalties_and_biases_change_the_logits_as_float64_says(sampled: EngineUnderTest, sampling: Sampling) -> None:
    base = request(6, 24)
    plain, said = decode(open_(sampled), base, replace(base, sampling=sampling))
    assert plain != said
    for at, token in enumerate(said):
        logits = sampled.oracle.logits((*base.prompt, *said[:at]))[-1]
        seen = adjusted(logits, sampling, base.prompt, said[:at])
        assert seen.max() - seen[token] < 2.0 * sampled.oracle.TIE


def test_what_is_withdrawn_is_penalised_no_more(sampled: EngineUnderTest) -> None:
    sampled.must_have("trim")
    sampling = Sampling(presence_penalty=2.0, frequency_penalty=1.0)
    ledger = Ledger(open_(sampled))
    sequence = ledger.submit(request(6, 24, sampling=sampling))
    account = ledger.accounts[sequence]
    for _ in range(6):
        ledger.step()
    ledger.fork(sequence, spec(suffix=2, answer=2), back=4)
    answer = probed(ledger)
    ledger.adopt(sequence, answer.probe, keep=3)
    ledger.run()
    for at, token in enumerate(account.tokens):
        if account.sampled[at]:
            logits = sampled.oracle.logits((*account.request.prompt, *account.tokens[:at]))[-1]
            seen = adjusted(logits, sampling, account.request.prompt, account.tokens[:at])
            assert seen.max() - seen[token] < 2.0 * sampled.oracle.TIE


def test_no_draw_is_less_likely_than_min_p_allows(sampled: EngineUnderTest) -> None:
    base, least = request(6, 1), 0.4
    logits = sampled.oracle.logits(base.prompt)[-1] / 2.0
    likely = set(np.flatnonzero(np.exp(logits - logits.max()) >= least).tolist())
    drawn = decode(
        open_(sampled, cells=2048, batch=64, chunk=512),
        *(replace(base, sampling=Sampling(temperature=2.0, seed=seed, min_p=least)) for seed in range(60)),
    )
    assert {tokens[0] for tokens in drawn} == likely


# --- refusals


def test_what_an_engine_cannot_take_of_a_request_is_refused_by_name(one: EngineUnderTest) -> None:
    engine, has = open_(one), one.capabilities
    with pytest.raises(TokenError, match=r"^logit_bias has token 128, must lie in 0…127$"):
        engine.submit(request(sampling=Sampling(logit_bias=((VOCABULARY, 1.0),))))
    held: Constraint = in_turn(1)
    sequence = engine.submit(request())
    engine.step()
    lacks: dict[str, tuple[str, list[Callable[[], object]]]] = {
        "constraints": (
            "has no constraints",
            [
                lambda: engine.submit(request(constraint=held)),
                lambda: engine.constrain(sequence, held),
                lambda: engine.fork(sequence, spec(constraint=held)),
            ],
        ),
        "token_log_probs": ("has no log probabilities of tokens", [lambda: engine.submit(request(log_probs=2))]),
        "sampling": (
            "has no sampling",
            [
                lambda: engine.submit(request(sampling=Sampling(presence_penalty=1.0))),
                lambda: engine.submit(request(sampling=Sampling(logit_bias=((1, 1.0),)))),
            ],
        ),
    }
    for name, (said, calls) in lacks.items():
        for call in calls if not getattr(has, name) else ():
            with pytest.raises(UnsupportedError, match=f": the {has.engine} engine {said}$"):
                call()
    engine.constrain(sequence, None)
