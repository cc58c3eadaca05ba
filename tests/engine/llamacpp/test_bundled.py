"""The bundled model as a GGUF file thinks as it does in transformers, and in short numbers nearly so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.base import Request
from engine.gguf.convert import StoredType, convert
from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
from engine.llamacpp.context import LlamaContext, TokenRow
from engine.llamacpp.engine import LlamaEngine
from engine.llamacpp.model import LlamaModel, LoadSettings
from experiments.evaluation.questions import bundled_questions
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from tests.support.engine_requests import decode
from tests.support.engines import needs_llama
from tests.support.tiny_models import Oracle

pytestmark = pytest.mark.slow

EXACT: dict[str, Any] = {"kv_type": KVType.F32, "flash_attention": FlashAttention.OFF}
ROWS = 64  # of a pass
MOST = 500  # tokens of a reply
SPREAD = 3.2  # standard deviation of a text's logits, of which the limits below are shares


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    needs_llama()
    return Oracle(bundled_model())


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    """A question of each benchmark."""
    chat = load_chat_model(bundled_model())
    return [chat.question(question.text) for question in bundled_questions(1, seed=27)]  # their thoughts end


@pytest.fixture(scope="module")
def replies(oracle: Oracle, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    """Each question with transformers' reply to it."""
    stops = load_chat_model(bundled_model()).stop_tokens
    return [[*prompt, *oracle.generate(prompt, MOST, stops=stops)] for prompt in prompts]


def stored(folder: Path, kind: StoredType) -> LlamaModel:
    file = folder / f"{kind}.gguf"
    for _ in convert(bundled_model(), file, kind):
        pass
    return LlamaModel(file, LoadSettings(repack=False))


def test_in_float32_its_replies_are_token_for_token_those_of_transformers(
    tmp_path: Path, oracle: Oracle, prompts: list[tuple[int, ...]]
) -> None:
    stops = load_chat_model(bundled_model()).stop_tokens
    config = LlamaConfig(cells=4096, max_batch=len(prompts), prefill_chunk=64, **EXACT)
    engine = LlamaEngine(stored(tmp_path, StoredType.F32), config)
    asked = [Request(prompt=prompt, max_new_tokens=MOST, stop_tokens=stops) for prompt in prompts]
    replies = decode(engine, *asked)  # all in one batch
    for prompt, reply in zip(prompts, replies, strict=True):
        assert list(reply) == oracle.generate(prompt, MOST, stops=stops)
    assert all(reply[-1] in stops for reply in replies)  # thoughts with their answers, whole
    assert sum(map(len, replies)) > 100 * len(replies)


@pytest.mark.parametrize(
    ("kind", "within", "most", "least"),
    [
        (StoredType.F32, 1.0, 0.0085, 0.999999),
        (StoredType.F16, 1.0, 0.018, 0.9999),  # .0142 was measured
        (StoredType.Q8_0, 0.999, 0.21, 0.995),  # single logits of rare tokens differ more, up to 0.8
    ],
)
def test_its_logits_differ_by_little(
    tmp_path: Path, oracle: Oracle, replies: list[list[int]], kind: StoredType, within: float, most: float, least: float
) -> None:
    """Over questions and their whole replies; `within` of them by at most `most` of SPREAD."""
    model = stored(tmp_path, kind)
    for text in replies:
        found, expected = logits(model, text), oracle.logits(text)
        spread = expected.std()
        assert SPREAD / 1.5 < spread < SPREAD * 1.5
        assert np.quantile(np.abs(found - expected), within) <= most * spread / SPREAD
        assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(found, expected, strict=True)) > least


def logits(model: LlamaModel, text: list[int]) -> np.ndarray:
    """The logits after each token of a text."""
    context = LlamaContext(model, LlamaConfig(cells=1024, max_batch=1, prefill_chunk=4, **EXACT), ids=ROWS)
    rows = [TokenRow(token, at, (0,), True) for at, token in enumerate(text)]
    return np.concatenate([context.decode(rows[at : at + ROWS]).copy() for at in range(0, len(rows), ROWS)])
