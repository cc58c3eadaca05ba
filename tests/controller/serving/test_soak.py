"""The soak in small: requests that come, go, are probed and cancelled leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.soak import EngineSoak, Fickle, check, run
from controller.serving.request import ExitReason, ReasoningRequest
from engine.base import EngineLoad, Sampling
from engine.exllama.config import ProbeWay
from models.tokenizer import ChatTokenizer
from tests.support.exllama_stub import check_pages, open_exllama
from tests.support.history_model import HistoryModel, HistoryOracle
from tests.support.serving_bench import FORM, Bench

pytestmark = pytest.mark.slow


def test_a_hundred_requests_leave_nothing_behind(random_model: Path, tokenizer: ChatTokenizer) -> None:
    policy = Fickle(np.random.default_rng(9))
    bench = Bench(random_model, tokenizer, policy=policy, form=FORM, cells=900, max_batch=6)

    def make(rng: np.random.Generator) -> ReasoningRequest:
        return ReasoningRequest(
            prompt=tuple(rng.integers(0, 400, int(rng.integers(1, 60))).tolist()),
            max_tokens=int(rng.integers(1, 120)),
            thinking=bool(rng.random() < 0.9),
            sampling=Sampling(temperature=1.0, seed=int(rng.integers(0, 1000))),
        )

    soak = run(
        bench.loop,
        make,
        requests=100,
        outstanding=12,
        rng=np.random.default_rng(0),
        sample=lambda over: float(over > 9),
    )
    assert check(soak, bench.engine.load()) == []
    assert len(soak.clients) == 100
    assert any(client.cancelled for client in soak.clients.values())
    outcomes = [client.outcome for client in soak.clients.values() if client.outcome is not None]
    assert {ExitReason.CONFIDENCE, ExitReason.MARGIN} <= {one.thought.exit_reason for one in outcomes if one.thought}


@pytest.mark.parametrize("way", ["auto", "riding"])
def test_a_hundred_requests_leave_nothing_behind_on_pages(tokenizer: ChatTokenizer, tmp_path: Path, way: str) -> None:
    """The ExLlamaV2 engine with too few pages, so that thoughts pause; every token is what its oracle says."""
    engine = open_exllama(
        cells=600, page=8, max_batch=6, lease_pages=2, max_probes=3, model=HistoryModel(432), way=ProbeWay(way)
    )
    policy = Fickle(np.random.default_rng(10))
    bench = Bench(tmp_path, tokenizer, policy=policy, form=FORM, engine=engine)

    def make(rng: np.random.Generator) -> ReasoningRequest:
        return ReasoningRequest(
            prompt=tuple(rng.integers(0, 400, int(rng.integers(1, 60))).tolist()),
            max_tokens=int(rng.integers(1, 120)),
            thinking=bool(rng.random() < 0.9),
        )

    soak = run(
        bench.loop,
        make,
        requests=100,
        outstanding=12,
        rng=np.random.default_rng(0),
        sample=lambda over: float(over > 9),
    )
    assert check(soak, engine.load()) == []
    bench.engine.ledger.verify(HistoryOracle(432))
    check_pages(engine)
    outcomes = [client.outcome for client in soak.clients.values() if client.outcome is not None]
    assert {ExitReason.CONFIDENCE, ExitReason.MARGIN} <= {one.thought.exit_reason for one in outcomes if one.thought}


def test_what_is_left_behind_is_found() -> None:
    leaking = EngineSoak(memory=[(over, 100.0 + over) for over in range(10, 101, 10)])
    busy = EngineLoad(running=1, waiting=0, probing=0, cells_reserved=9, cells_total=90)
    faults = check(leaking, busy)
    assert len(faults) == 2
    assert "still holds" in faults[0]
    assert "memory grew by" in faults[1]
