"""What only a GPU can show of the ExLlamaV2 engine; `benchmarks/gpu.sh` runs these, the contract suite with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.exllama.config import CacheType, ExLlamaConfig
from models.reasoner import bundled_model
from tests.support.engine_requests import request, spec
from tests.support.ledger import Ledger
from tests.support.on_gpu import open_on_gpu
from tests.support.tiny_models import save_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("LASER_GPU" not in os.environ, reason="LASER_GPU=1 runs these, on a CUDA GPU"),
]

SHAPE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 64}
WIDE = {"num_attention_heads": 8, "num_key_value_heads": 8}  # 512 numbers a token, a quantised cache's block
ODD = {"num_attention_heads": 6, "num_key_value_heads": 3}  # 192: a block has parts of tokens


def bundled(_: Path) -> Path:
    return bundled_model()


def tiny(architecture: str, **shape: int) -> Callable[[Path], Path]:
    return lambda directory: save_model(directory, architecture, **{**SHAPE, **shape})


@pytest.mark.parametrize(
    "model",
    [bundled, tiny("llama"), tiny("qwen2"), tiny("qwen3"), tiny("llama", **WIDE), tiny("llama", **ODD)],
    ids=["bundled", "llama", "qwen2", "qwen3", "wide", "odd"],
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
    ledger = Ledger(open_on_gpu(bundled_model(), ExLlamaConfig(cells=16_384, cache=kind)))
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
