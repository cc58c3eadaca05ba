"""Requests that share a prompt: it is prefilled once, and each goes on as if it were alone."""

from __future__ import annotations

import pytest

from engine.base import Sampling, SequenceError
from tests.support.engine_requests import decode, request, spec
from tests.support.engines import EngineUnderTest, finish, open_, probed
from tests.support.ledger import Ledger
from tests.support.row_counts import counting


def test_a_prompt_is_prefilled_once_for_all_that_are_submitted_like_it(sampled: EngineUnderTest) -> None:
    prompt, new, count = 40, 3, 4
    engine = open_(sampled, cells=2048)
    ledger, rows = Ledger(engine), counting(engine)
    asked = [request(prompt, new, sampling=Sampling(temperature=1.0, seed=seed)) for seed in range(count)]
    first = ledger.submit(asked[0])
    others = [ledger.submit(one, like=first) for one in asked[1:]]
    ledger.run()
    shared = prompt - 1
    assert rows() <= shared + count * (1 + new - 1) + _again(sampled, count)
    alone = [decode(open_(sampled, cells=2048), one)[0] for one in asked]
    if sampled.capabilities.batch_invariant:
        assert [tuple(ledger.accounts[one].tokens) for one in (first, *others)] == alone


def _again(sampled: EngineUnderTest, count: int) -> int:
    """Rows that ExLlamaV2 computes and does not copy: a page's first token, if it is alone."""
    return count if sampled.capabilities.engine == "exllama" else 0


def test_one_that_joins_late_shares_what_is_there(sampled: EngineUnderTest) -> None:
    ledger = Ledger(open_(sampled, cells=2048, batch=2))
    first = ledger.submit(request(40, 12))
    for _ in range(6):
        ledger.step()
    ledger.fork(first, spec(), back=1 if sampled.capabilities.trim else 0)
    late = [ledger.submit(request(40, 12, stop_tokens=frozenset({seed})), like=first) for seed in range(3)]
    answer = probed(ledger)
    ledger.adopt(first, answer.probe, keep=2)
    ledger.step()
    ledger.cancel(first)
    later = ledger.submit(request(40, 12), like=first)  # which has ended
    finish(ledger, sampled)
    assert all(ledger.accounts[one].tokens for one in (*late, later))


def test_one_that_shares_a_prompt_is_probed_and_adopts_as_if_it_were_alone(sampled: EngineUnderTest) -> None:
    ledger = Ledger(open_(sampled, cells=2048))
    first = ledger.submit(request(40, 12))
    second = ledger.submit(request(40, 12), like=first)
    while len(ledger.accounts[second].tokens) < 3:
        ledger.step()
    ledger.fork(second, spec(), back=1 if sampled.capabilities.trim else 0)
    ledger.adopt(second, probed(ledger).probe, keep=4)
    finish(ledger, sampled)


def test_another_prompt_is_refused(one: EngineUnderTest) -> None:
    engine = open_(one)
    first = engine.submit(request(6, 4))
    with pytest.raises(SequenceError, match=rf"^the prompt must be that of sequence {first}, and is another$"):
        engine.submit(request(6, 4, seed=1), like=first)
