"""What only a GPU can show of the ExLlamaV2 engine; `benchmarks/gpu.sh` runs these, the contract suite with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from controller.policies.auto import Auto
from engine.exllama.config import CacheType, ExLlamaConfig
from engine.registry import engine_options
from laser.server.config import ServeConfig
from models.reasoner import bundled_model
from tests.support.engine_requests import request, spec
from tests.support.ledger import Ledger
from tests.support.live_server import running
from tests.support.tiny_models import save_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("LASER_GPU" not in os.environ, reason="LASER_GPU=1 runs these, on a CUDA GPU"),
]

QUESTION = "Tom has 19 books. He buys 33 more. Tom loses 26. How many books are left at the end?"
SHAPE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 64}


def bundled(_: Path) -> Path:
    return bundled_model()


def tiny(architecture: str) -> Callable[[Path], Path]:
    return lambda directory: save_model(directory, architecture, **SHAPE)


@pytest.mark.parametrize(
    "model", [bundled, tiny("llama"), tiny("qwen2"), tiny("qwen3")], ids=["bundled", "llama", "qwen2", "qwen3"]
)
@pytest.mark.parametrize("kind", list(CacheType))
def test_logits_are_those_of_transformers(tmp_path: Path, model: Callable[[Path], Path], kind: CacheType) -> None:
    from transformers import AutoModelForCausalLM

    from engine.exllama.load import PAGE, load_exllama
    from engine.exllama.selftest import paged_logits

    directory = model(tmp_path)
    loaded = load_exllama(directory, ExLlamaConfig(cells=4096, cache=kind))
    text = torch.from_numpy(np.random.default_rng(0).integers(0, 128, (1, 300)))
    table = [3, 1]
    ahead = paged_logits(loaded.model, loaded.cache, PAGE, text[:, :280], [0], [table])
    after = [paged_logits(loaded.model, loaded.cache, PAGE, text[:, i : i + 1], [i], [table]) for i in range(280, 300)]
    ours = torch.cat((ahead, *after), dim=1)[0].log_softmax(dim=-1)
    with torch.inference_mode():
        reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        theirs = reference(text).logits[0].log_softmax(dim=-1)
    divergence = (theirs.exp() * (theirs - ours)).sum(dim=-1)  # nats, of each position
    limit = {CacheType.FP16: 0.005, CacheType.Q8: 0.02, CacheType.Q6: 0.1, CacheType.Q4: 0.5}[kind]
    assert float(divergence.mean()) < limit


@pytest.mark.parametrize("kind", list(CacheType))
def test_every_cache_type_serves_probes_and_leaves_nothing(kind: CacheType) -> None:
    from engine.exllama.engine import ExLlamaEngine
    from engine.exllama.load import load_exllama

    config = ExLlamaConfig(cells=16_384, cache=kind)
    ledger = Ledger(ExLlamaEngine(load_exllama(bundled_model(), config), config))
    sequences = [ledger.submit(request(200 + 20 * i, 150, seed=i)) for i in range(8)]
    while not all(ledger.accounts[sequence].tokens for sequence in sequences):
        ledger.step()
    for sequence in sequences:
        ledger.fork(sequence, spec(), back=1)
    answered = 0
    while answered < 8:
        for answer in ledger.step():
            answered += 1
            if answered % 2:
                ledger.adopt(answer.sequence, answer.probe, keep=5)
    ledger.run()
    assert ledger.engine.load().cells_reserved == 0


def test_early_exit_answers_over_http_as_the_torch_engine_does() -> None:
    answers = {}
    for kind in ("torch", "exllama"):
        with running(ServeConfig(engine=engine_options(kind, {}), cells=16_384, policy=Auto(threshold=0.9))) as server:
            reply = server.post(messages=[{"role": "user", "content": QUESTION}], max_tokens=512).json()
        answers[kind] = reply["choices"][0]["message"]["content"]
        assert reply["laser"]["exit_reason"] == "confidence"
        assert reply["laser"]["probes"] > 0
    assert "26" in answers["exllama"]
    assert answers["exllama"] == answers["torch"]
