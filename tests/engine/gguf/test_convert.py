from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize
from safetensors.numpy import load_file

from engine.base import EngineUnavailableError, UnsupportedModelError
from engine.gguf.convert import StoredType, convert
from models.chat_model import load_chat_model
from models.gguf.model import read_model
from models.reasoner import bundled_model
from tests.support.tiny_models import save_model


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("converted") / "reasoner.gguf"
    assert list(convert(bundled_model(), file, StoredType.Q8_0))[-1] == 1.0
    return file


def test_the_weights_are_those_of_the_directory(converted: Path) -> None:
    weights = load_file(bundled_model() / "model.safetensors")
    found = {one.name: dequantize(one.data, one.tensor_type) for one in GGUFReader(converted).tensors}
    assert len(found) == len(weights)
    for name, source in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.4.attn_q.weight", "model.layers.4.self_attn.q_proj.weight"),
        ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
    ):
        exact = weights[source].astype(np.float32)
        assert np.abs(found[name] - exact).max() <= np.abs(exact).max() / 127


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = next(one for one in project["optional-dependencies"]["llamacpp"] if one.startswith("gguf"))
    with pytest.raises(EngineUnavailableError) as caught:
        list(convert(bundled_model(), tmp_path / "reasoner.gguf"))
    assert str(caught.value) == (
        f"gguf is not installed, writing GGUF files needs it: pip install '{package}', in a checkout "
        "pip install -c constraints.txt -e '.[llamacpp]'"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_gguf_file_is_the_same_chat_model_as_its_directory(converted: Path) -> None:
    ours, theirs = load_chat_model(converted), load_chat_model(bundled_model())
    assert ours.thinking.format == theirs.thinking.format
    assert (ours.defaults, ours.habits, ours.stop_tokens) == (theirs.defaults, theirs.habits, theirs.stop_tokens)
    assert ours.tokenizer.texts == theirs.tokenizer.texts
    chat = [{"role": "user", "content": "Is 7 < 8? </think> says a <|im_end|> trick"}]
    assert ours.begin(chat) == theirs.begin(chat)
    assert ours.tokenizer.note is None


def test_a_llama_s_queries_and_keys_are_put_in_the_order_of_llama_cpp(tmp_path: Path) -> None:
    save_model(tmp_path / "llama", "llama")
    list(convert(tmp_path / "llama", tmp_path / "llama.gguf", StoredType.F32, tokenizer=False))
    found = {one.name: one.data for one in GGUFReader(tmp_path / "llama.gguf").tensors}
    weights = load_file(tmp_path / "llama" / "model.safetensors")
    queries, rows = weights["model.layers.0.self_attn.q_proj.weight"], [0, 8, 1, 9, 2, 10]  # heads of 16
    assert np.array_equal(found["blk.0.attn_q.weight"][:6], queries[rows])
    assert np.array_equal(found["blk.0.attn_v.weight"], weights["model.layers.0.self_attn.v_proj.weight"])


def test_a_model_that_would_be_computed_otherwise_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    save_model(tmp_path / "phi", "phi")
    with pytest.raises(UnsupportedModelError, match="PhiForCausalLM is not converted, only LlamaForCausalLM"):
        list(convert(tmp_path / "phi", tmp_path / "phi.gguf"))
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    save_model(tmp_path / "dynamic", "qwen2", rope_parameters=rope)
    with pytest.raises(UnsupportedModelError, match="the rotary embedding dynamic is not converted for qwen2"):
        list(convert(tmp_path / "dynamic", tmp_path / "dynamic.gguf", tokenizer=False))
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_file_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    save_model(tmp_path / "qwen2", "qwen2")
    list(convert(tmp_path / "qwen2", tmp_path / "qwen2.gguf", tokenizer=False))
    found = read_model(tmp_path / "qwen2.gguf")
    assert found.text("tokenizer.ggml.model") == "none"
    assert (found.architecture, found.context, found.layers) == ("qwen2", 512, 2)
