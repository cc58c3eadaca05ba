"""How the ExLlamaV2 engine fails: a sequence alone, all that run, or the engine for good."""

from __future__ import annotations

from typing import Any
from weakref import ref

import pytest
import torch

from engine.base import EngineBrokenError, Finished, FinishReason, Sampling, SequenceId, Tokens
from engine.exllama.config import ProbeWay
from tests.support.engine_requests import decode, request, spec
from tests.support.exllama_stub import check_pages, open_exllama
from tests.support.history_model import HistoryModel, HistoryOracle

ORACLE = HistoryOracle()
FIXED = [ProbeWay.STOCK, ProbeWay.BATCHED, ProbeWay.RIDING]


def open_(model: HistoryModel, **sizes: Any) -> Any:
    return open_exllama(**{"model": model, "cells": 512, "page": 8, "max_batch": 8, "lease_pages": 2, **sizes})


class Overflowing(HistoryModel):
    """Gives NaN after the token `worse`, and in texts whose first page is one of `bad`."""

    bad: frozenset[int] = frozenset()
    worse = -1

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        found = super().forward_chunk(input_ids, attn_params, cache, **options)
        if "logits" in found:
            for row, tokens in enumerate(input_ids.tolist()):
                if int(attn_params.block_index[row, 0]) in self.bad or self.worse in tokens:
                    found["logits"][row] = torch.nan
        return found


def first_page(engine: Any, sequence: SequenceId) -> int:
    return int(engine._running[sequence].lease.sequences[0].allocated_pages[0].page_index)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_sequence_whose_logits_are_no_numbers_fails_alone(temperature: float) -> None:
    """However its token would be drawn, and whatever thread would draw it."""
    model = Overflowing()
    engine = open_(model)
    sound = engine.submit(request(20, 12))
    lost = {
        engine.submit(request(19 + seed, 30, seed=seed, sampling=Sampling(temperature=temperature)))
        for seed in range(1, 4)
    }
    for _ in range(4):
        engine.step()
    model.bad = frozenset(first_page(engine, sequence) for sequence in lost)
    tokens = list(engine._running[sound].tokens[20:])
    events = engine.step()
    ended = [event for event in events if isinstance(event, Finished)]
    assert {(event.sequence, event.reason) for event in ended} == {(each, FinishReason.ERROR) for each in lost}
    assert "overflowed in half precision" in str(ended[0].error)
    model.bad = frozenset()
    while True:
        assert {event.sequence for event in events if isinstance(event, Tokens)} <= {sound}
        tokens += [token for event in events if isinstance(event, Tokens) for token in event.tokens]
        if not engine.load().running:
            break
        events = engine.step()
    assert tokens == ORACLE.generate(request(20).prompt, 12)
    check_pages(engine)


@pytest.mark.parametrize("way", FIXED)
def test_a_probe_whose_logits_are_no_numbers_fails_its_sequence_alone(way: ProbeWay) -> None:
    model = Overflowing()
    engine = open_(model, way=way)
    sound, lost = (engine.submit(request(20, 12, seed=seed)) for seed in range(2))
    for _ in range(4):
        engine.step()
    engine.fork(lost, spec())
    model.worse = spec().suffix[-1]
    ended: list[Finished] = []
    while lost in engine._running:
        ended += [event for event in engine.step() if isinstance(event, Finished)]
    assert [(event.sequence, event.reason) for event in ended] == [(lost, FinishReason.ERROR)]
    assert sound in engine._running
    engine.cancel(sound)
    check_pages(engine)


def test_an_engine_that_cannot_start_over_says_so() -> None:
    model = HistoryModel()
    engine = open_(model)
    engine.submit(request(20, 20))
    engine.step()
    model.config = None  # whatever is done with the model fails, as when CUDA is broken for good
    with pytest.raises(EngineBrokenError, match=r"'arch'; and it cannot start over: .*'vocab_size'"):
        engine.step()


def test_after_a_failed_pass_the_engine_is_as_good_as_new() -> None:
    model = HistoryModel()
    engine = open_(model)
    for seed in range(3):
        engine.submit(request(20, 20, seed=seed))
    for _ in range(4):
        engine.step()
    model.fail_next = True
    with pytest.raises(RuntimeError, match="illegal memory access"):
        engine.step()
    assert (engine.load().running, engine.load().waiting, engine.load().cells_reserved) == (0, 0, 0)
    assert decode(engine, request(20, 20)) == [tuple(ORACLE.generate(request(20).prompt, 20))]
    check_pages(engine)


def test_what_a_failed_step_had_made_is_let_go() -> None:
    """An error's traceback keeps what its frames hold: a GPU would have no room for the next step."""
    made: list[ref[torch.Tensor]] = []

    class Failing(HistoryModel):
        def forward_chunk(self, *arguments: Any, **options: Any) -> Any:
            logits = super().forward_chunk(*arguments, **options)
            if made:
                big = torch.zeros(1000)
                made.append(ref(big))
                raise RuntimeError(f"out of memory for {big.numel()}")
            return logits

    engine = open_(Failing())
    engine.submit(request(20, 20))
    for _ in range(3):
        engine.step()
    made.append(ref(torch.zeros(1)))
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        engine.step()
    assert caught.value.__traceback__ is not None
    assert len(made) == 2
    assert made[-1]() is None
