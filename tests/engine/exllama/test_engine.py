"""What is particular to the ExLlamaV2 engine: pages, leases, its ways to probe, and how it recovers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base import Probed, Sampling, SequenceId
from engine.exllama.config import ExLlamaConfig, ProbeWay
from engine.sampling.drawing import draw
from tests.support.engine_requests import request, search, spec
from tests.support.exllama_stub import check_pages, open_exllama
from tests.support.history_model import HistoryModel, HistoryOracle
from tests.support.ledger import Ledger
from tests.support.schedules import Operation, Schedule, schedules

WAYS = list(ProbeWay)
FIXED = [ProbeWay.STOCK, ProbeWay.BATCHED, ProbeWay.RIDING]
ORACLE = HistoryOracle()


def open_(cells: int = 512, **sizes: Any) -> Any:
    return open_exllama(**{"cells": cells, "page": 8, "max_batch": 8, "lease_pages": 2, **sizes})


def decoding(model: HistoryModel, prompt: int, steps: int, **sizes: Any) -> tuple[Ledger, SequenceId]:
    """A ledger whose one sequence has so many tokens already; the model's passes are counted from then on."""
    ledger = Ledger(open_(model=model, **sizes))
    sequence = ledger.submit(request(prompt, 60))
    for _ in range(steps):
        ledger.step()
    model.passes.clear()
    return ledger, sequence


def answer_of(ledger: Ledger) -> Probed:
    for _ in range(50):
        if probed := ledger.step():
            return probed[0]
    raise AssertionError("the probe never ended")


def finish(ledger: Ledger) -> None:
    ledger.run()
    ledger.verify(ORACLE)
    check_pages(ledger.engine)


def rows(model: HistoryModel) -> int:
    return sum(batch * length for batch, length in model.passes)


# --- leases


@pytest.mark.parametrize("prompt", range(1, 19))
def test_a_long_sequence_computes_every_token_once_whatever_its_leases(prompt: int) -> None:
    model = HistoryModel()
    ledger = Ledger(open_(model=model, lease_pages=1))
    ledger.submit(request(prompt, 100))
    finish(ledger)
    assert rows(model) == prompt - 1 + 100


@pytest.mark.parametrize("way", FIXED)
@pytest.mark.parametrize("steps", range(4, 13))
@pytest.mark.parametrize("back", [0, 2])
def test_an_adopted_probe_is_not_computed_again(way: ProbeWay, steps: int, back: int) -> None:
    model = HistoryModel()
    ledger, sequence = decoding(model, 5, steps, way=way)
    ledger.fork(sequence, spec(), back=back)
    answer = answer_of(ledger)
    model.passes.clear()
    ledger.adopt(sequence, answer.probe, keep=5)
    ledger.step()
    assert rows(model) <= 2  # the next token's; ExLlamaV2 computes, not copies, a page's first token if it is alone
    finish(ledger)


@pytest.mark.parametrize("steps", range(4, 13))
def test_only_what_is_forced_is_computed(steps: int) -> None:
    model = HistoryModel()
    ledger, sequence = decoding(model, 5, steps)
    ledger.force(sequence, (1, 2, 3))
    ledger.step()
    assert rows(model) <= 1 + 3 + 1  # the newest, those forced, and a page's first token if it is alone
    finish(ledger)


def test_the_same_prompt_is_computed_once() -> None:
    model = HistoryModel()
    ledger, _ = decoding(model, 33, 3)
    ledger.submit(request(33, 60))
    ledger.step()
    assert sorted(model.passes) == [(2, 1)]
    finish(ledger)


def test_a_page_that_was_only_decoded_into_is_not_taken_for_a_prompts_first() -> None:
    """Where all before it was found in the cache, upstream forgets its predecessor: two equal tokens are enough."""
    ledger = Ledger(open_())
    for steps in (1, 6):  # the prompt fills a page but for the token that is decoded; the second time it is found
        again = ledger.submit(request(9, 20))
        for _ in range(steps):
            ledger.step()
    first = ledger.accounts[again].context[8:13]
    ledger.submit(replace(request(5, 20), prompt=first))
    finish(ledger)


def test_pages_go_to_the_oldest_and_the_younger_goes_on_later() -> None:
    ledger = Ledger(open_(cells=88, lease_pages=1))
    old, young = (ledger.submit(request(8, 50, seed=seed)) for seed in range(2))
    paused = 0
    while not ledger.accounts[old].over:
        before = len(ledger.accounts[young].tokens)
        ledger.step()
        paused += ledger.accounts[young].started and len(ledger.accounts[young].tokens) == before
    assert paused > 5
    assert 0 < len(ledger.accounts[young].tokens) < 50
    finish(ledger)


def test_what_pauses_may_be_probed_forced_and_cancelled() -> None:
    ledger = Ledger(open_(cells=88, lease_pages=1))
    old, young = (ledger.submit(request(8, 50, seed=seed)) for seed in range(2))
    grown = -1
    while grown != len(ledger.accounts[young].tokens) or not grown:
        grown = len(ledger.accounts[young].tokens)
        ledger.step()
    ledger.fork(young, spec())
    ledger.step()
    ledger.force(young, (1, 2))
    ledger.step()
    assert ledger.accounts[young].tokens[-2:] == [1, 2]
    ledger.cancel(old)
    finish(ledger)


def test_reserved_cells_are_whole_pages_and_include_the_probes() -> None:
    engine = open_()
    sequence = engine.submit(request(5, 8))
    engine.step()
    assert engine.load().cells_reserved == 16  # 13 tokens
    engine.fork(sequence, spec())
    engine.step()
    assert engine.load().cells_reserved == 32  # 6 + ROOM tokens, nothing of which is a full page yet
    engine.cancel(sequence)
    assert engine.load().cells_reserved == 0


def test_a_step_prefills_no_more_than_a_chunk_and_those_who_decode_go_on() -> None:
    model = HistoryModel()
    ledger, _ = decoding(model, 5, 3, prefill_chunk=16)
    for seed in range(1, 5):
        ledger.submit(request(40, 5, seed=seed))
    while any(not account.tokens for account in ledger.accounts.values()):
        model.passes.clear()
        ledger.step()
        assert sum(length for _, length in model.passes[:-1]) <= 16
        assert model.passes[-1][1] == 1
    finish(ledger)


# --- probes


@pytest.mark.parametrize(
    ("way", "passes"),
    [
        (ProbeWay.STOCK, [(1, 3)] * 5 + [(10, 1)]),
        (ProbeWay.BATCHED, [(5, 3), (10, 1)]),
        (ProbeWay.RIDING, [(10, 1)]),
        (ProbeWay.AUTO, [(5, 3), (10, 1)]),
    ],
)
def test_a_burst_of_probes_takes_the_passes_of_its_way(way: ProbeWay, passes: list[tuple[int, int]]) -> None:
    model = HistoryModel()
    ledger = Ledger(open_(model=model, way=way))
    sequences = [ledger.submit(request(4, 30, seed=seed)) for seed in range(5)]
    for _ in range(3):
        ledger.step()
    for sequence in sequences:
        ledger.fork(sequence, spec())
    model.passes.clear()
    ledger.step()
    assert model.passes == passes
    finish(ledger)


def test_probes_that_read_one_token_again_take_no_pass_of_their_own() -> None:
    model = HistoryModel()
    ledger = Ledger(open_(model=model))
    sequences = [ledger.submit(request(4, 40, seed=seed)) for seed in range(5)]
    for _ in range(3):
        ledger.step()
    for sequence in sequences:
        last = ledger.accounts[sequence].tokens[-1]
        ledger.fork(sequence, replace(spec(answer=1, watched=9), suffix=(last,)), back=1)
    model.passes.clear()
    answers = ledger.step()
    assert model.passes == [(10, 1)]
    assert [(answer.rows, len(answer.answer)) for answer in answers] == [(1, 1)] * 5
    finish(ledger)


def test_the_way_follows_the_load() -> None:
    config = ExLlamaConfig()
    assert config.choose_way(starting=1, suffix=8, rows=2) is ProbeWay.STOCK
    assert config.choose_way(starting=1, suffix=8, rows=3) is ProbeWay.RIDING
    assert config.choose_way(starting=4, suffix=8, rows=16) is ProbeWay.BATCHED
    assert config.choose_way(starting=5, suffix=8, rows=16) is ProbeWay.RIDING
    assert config.choose_way(starting=5, suffix=1, rows=16) is ProbeWay.STOCK


def test_no_more_probes_run_than_may_and_the_rest_follow() -> None:
    ledger = Ledger(open_(max_probes=2))
    sequences = [ledger.submit(request(4, 40, seed=seed)) for seed in range(5)]
    for _ in range(3):
        ledger.step()
    for sequence in sequences:
        ledger.fork(sequence, spec())
    ended = []
    while len(ended) < 5:
        probed = ledger.step()
        assert len(probed) <= 2
        ended += [answer.sequence for answer in probed]
    assert ended == sequences
    finish(ledger)


# --- sampling


def test_each_token_is_drawn_from_the_models_logits_at_its_position() -> None:
    ledger = Ledger(open_())
    sampling = Sampling(temperature=0.9, top_k=20, top_p=0.9, seed=7)
    sequence = ledger.submit(request(9, 30, sampling=sampling))
    ledger.run()
    context = list(request(9).prompt)
    for token in ledger.accounts[sequence].tokens:
        assert token == draw(ORACLE.logits(context)[-1].astype(np.float32), sampling, len(context))
        context.append(token)


# --- limits


def test_a_batched_suffix_is_no_more_than_the_model_takes_at_once() -> None:
    model = HistoryModel()
    model.config.max_input_len = 24
    engine = open_(cells=2048, model=model, max_batch=8, max_probes=8, way=ProbeWay.BATCHED, prefill_chunk=8)
    ledger = Ledger(engine)
    sequences = [ledger.submit(request(20, 30, seed=seed)) for seed in range(6)]
    while not all(ledger.accounts[sequence].tokens for sequence in sequences):
        ledger.step()
    model.passes.clear()
    for sequence in sequences:
        ledger.fork(sequence, spec(suffix=7))
    finish(ledger)
    assert max(rows * tokens for rows, tokens in model.passes if tokens > 1) <= 24


def test_pages_left_last_are_used_anew_last() -> None:
    """However long ago they were first used: the next lease of a thought that is closed looks for them."""
    ledger = Ledger(engine := open_(cells=1024))
    early = ledger.submit(request(20, 40))
    ledger.step()
    later = [ledger.submit(request(20, 4, seed=seed)) for seed in range(1, 4)]
    while not all(ledger.accounts[sequence].over for sequence in later):
        ledger.step()
    filled = [page for page in engine._generator.referenced_pages.values() if page.kv_position]
    others = list(engine._generator.unreferenced_pages.values())
    assert filled
    ledger.cancel(early)
    assert min(page.access_serial for page in filled) > max(page.access_serial for page in others)


@pytest.mark.parametrize("sizes", [{"cells": 0}, {"max_probes": 0}, {"lease_pages": -1}])
def test_sizes_below_one_are_refused(sizes: dict[str, int]) -> None:
    ((name, value),) = sizes.items()
    with pytest.raises(ValueError, match=f"{name} is {value}, must be at least 1"):
        ExLlamaConfig(**sizes)


# --- any schedule, while there are too few pages

TALLY: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def _tally() -> Iterator[None]:
    """Tells (with pytest -s) what the schedules of this module have held against the oracle."""
    yield
    print(f"\nschedules: {dict(TALLY)}")


def play(engine: Any, operations: list[Operation]) -> None:
    """Play them twice: the second time the cache is full of what the first has left."""
    for _ in range(2):
        schedule = Schedule(engine)
        schedule.play(operations)
        schedule.ledger.verify(ORACLE)
        check_pages(engine)
        TALLY["tokens"] += sum(len(account.tokens) for account in schedule.ledger.accounts.values())
        TALLY["probes"] += sum(asked.answer is not None for asked in schedule.ledger.asked.values())
        TALLY["adopted"] += schedule.adopted
        TALLY["forced"] += schedule.forced
        TALLY["cancelled"] += schedule.cancelled


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@search(6)
@given(operations=schedules(st.integers(1, 40), new=60))
def test_any_schedule_under_page_pressure_changes_no_token(way: ProbeWay, operations: list[Operation]) -> None:
    """17 pages hold one long request and a probe of it: sequences pause, pages are evicted, probes wait."""
    play(open_(cells=136, max_batch=4, prefill_chunk=8, lease_pages=1, max_probes=3, way=way), operations)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@search(2)
@given(operations=schedules(st.one_of(st.integers(1, 600), st.integers(250, 258), st.integers(506, 514)), new=60))
def test_any_schedule_on_pages_of_256_changes_no_token(way: ProbeWay, operations: list[Operation]) -> None:
    engine = open_exllama(
        cells=7 * 256, page=256, max_batch=4, prefill_chunk=256, lease_pages=1, max_positions=4096, way=way
    )
    play(engine, operations)
