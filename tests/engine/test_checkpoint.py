"""A configuration that does not fit an engine is refused in one line that names the key and the value."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, Llama4TextConfig

from engine.base import EngineError, UnsupportedModelError
from engine.checkpoint import STATED, read_config
from engine.rotary import rotary_frequencies
from engine.torch.config import Runner
from engine.torch.load import load_model
from engine.weights import parameters
from models.reasoner import bundled_model
from tests.support.tiny_models import damage, save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def model(tmp_path: Path, saved: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def rope(**settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, **settings}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": "two"}, "num_hidden_layers.* expected int, got str"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1, must be a whole number in 1…10000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, must be"),
        ({"num_hidden_layers": float("nan")}, "num_hidden_layers.* got float"),
        ({"num_hidden_layers": float("inf")}, "num_hidden_layers.* got float"),  # what 1e400 is read as
        ({"num_hidden_layers": True}, "num_hidden_layers.* got bool"),
        ({"num_hidden_layers": None}, "num_hidden_layers.* got NoneType"),
        ({"vocab_size": 0}, "vocab_size is 0, must be a whole number in 1…"),
        ({"vocab_size": -3}, "vocab_size is -3, must be"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, must be"),
        ({"hidden_size": 10**30}, "hidden_size is 1000000000000000000000000000000, must be"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"max_position_embeddings": 10**10}, "max_position_embeddings is 10000000000, must be"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 3}, "num_attention_heads is 4, must be a multiple of the 3"),
        ({"num_attention_heads": 0}, "config.json"),
        ({"head_dim": -2}, "head_dim is -2"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan, must be a number in 0…1"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings.* expected bool, got str"),
        ({"layer_types": ["nonsense"] * 2}, "layer_types"),
        ({"architectures": None}, "architectures is None, must name one architecture"),
        ({"architectures": []}, r"architectures is \[\], must name one architecture"),
        ({"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM', must name one"),
        ({"architectures": [3]}, r"architectures is \[3\]"),
        ({"architectures": ["A", "B"]}, r"architectures is \['A', 'B'\], must name one"),
        ({"architectures": ["FooForCausalLM"]}, "is 'FooForCausalLM', must be LlamaForCausalLM for model_type llama"),
        ({"architectures": ["\ud800"]}, r"is '\\ud800', must be LlamaForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "must be LlamaForCausalLM"),
        ({"model_type": None}, "model type `None`"),
        ({"model_type": 3}, "model type `3`"),
        ({"model_type": []}, "unhashable"),
        ({"model_type": "nonsense"}, "nonsense"),
        ({"quantization_config": []}, r"quantization_config is \[\], must be an object"),
        ({"quantization_config": "awq"}, "quantization_config is 'awq', must be an object"),
        ({"compression_config": 3}, "compression_config is 3, must be an object"),
        (rope(rope_type="mrope"), "rope_type is 'mrope', must be one of default, "),
        (rope(rope_type=None), "rope_type is None, must be one of"),
        (rope(rope_type=["yarn"]), r"rope_type is \['yarn'\]"),
        (rope(rope_type="linear"), "config.json.*factor"),
        (rope(rope_type="linear", factor="x"), "factor of its rotary embedding is 'x', must be above 0"),
        (rope(rope_type="linear", factor=-1.0), "factor of its rotary embedding is -1.0, must be above 0"),
        (rope(rope_theta="x"), "rope_theta of its rotary embedding is 'x', must be above 0"),
        (rope(rope_theta=float("nan")), "rope_theta of its rotary embedding is nan, must be finite"),
        (rope(rope_theta=0), "rope_theta of its rotary embedding is 0, must be above 0"),
        ({"rope_parameters": []}, "rope_parameters"),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "mrope", "mrope_section": [4, 2, 2]}},
            "rope_type is 'mrope'",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_told_in_one_line(model: Path, changes: dict[str, Any], told: str) -> None:
    if "layer_types" not in changes:
        changes = {**changes, "layer_types": None}
    damage(model, **changes)
    with pytest.raises(EngineError, match=told) as no:
        read_config(model)
    assert str(model) in str(no.value)
    assert "config.json" in str(no.value) or "_config" in str(no.value)
    assert "\n" not in str(no.value)
    assert len(str(no.value)) < 600
    str(no.value).encode()  # can be printed


@pytest.mark.parametrize("runner", [Runner.AUTO, Runner.TRANSFORMERS])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": 5000}, "config.json asks for num_hidden_layers 5000, the weights have"),
        ({"num_hidden_layers": 1}, r"hold the tensors model\.layers\.1"),
        ({"vocab_size": 1 << 20}, r"config\.json asks for"),
        (
            {"vocab_size": 130},
            r"(embed_tokens|lm_head)\.weight is of shape \(128, 64\), config\.json asks for \(130, 64\)",
        ),
        ({"hidden_size": 128}, r"config\.json asks for"),
        ({"intermediate_size": 100}, r"is of shape .* config\.json asks for"),
        ({"head_dim": 32}, r"is of shape .* config\.json asks for"),
        ({"hidden_act": "nonsense"}, "nonsense"),
    ],
)
def test_a_configuration_that_the_weights_do_not_fit_is_told_in_one_line(
    model: Path, runner: Runner, changes: dict[str, Any], told: str
) -> None:
    damage(model, **{"layer_types": None, **changes})
    with pytest.raises(EngineError, match=told) as no:
        load_model(model, runner)
    assert str(model) in str(no.value)
    assert "\n" not in str(no.value)


def test_the_first_llamas_spelling_of_their_name_is_known(model: Path) -> None:
    damage(model, architectures=["LLaMAForCausalLM"])
    assert load_model(model).shape.layers == 2


@pytest.mark.parametrize("adds", [{"time_step_limit": [0.0, float("inf")]}, {"new": None}, {"eos_token_id": [1, 2]}])
def test_what_engines_do_not_read_of_a_configuration_may_be_anything(model: Path, adds: dict[str, Any]) -> None:
    damage(model, **adds)
    assert read_config(model).model_type == "llama"
    assert json.loads((model / "config.json").read_text())["model_type"] == "llama"


def test_a_configuration_that_states_all_is_read_without_transformers_as_with_it() -> None:
    bare, whole = read_config(bundled_model(), bare=True), read_config(bundled_model())
    assert isinstance(bare, SimpleNamespace)
    assert not isinstance(whole, SimpleNamespace)
    for name in (*STATED, "model_type", "architectures", "rope_parameters", "sliding_window"):
        assert getattr(bare, name) == getattr(whole, name), name
    assert parameters(bare) == parameters(whole)
    for ours, theirs in zip(rotary_frequencies(bare), rotary_frequencies(whole), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories that transformers was asked to read, which it goes on to do."""
    directories: list[Path] = []
    its_own = AutoConfig.from_pretrained

    def noting(directory: Path, **options: Any) -> Any:
        directories.append(directory)
        return its_own(directory, **options)

    monkeypatch.setattr(AutoConfig, "from_pretrained", noting)
    return directories


def stating(directory: Path, **changes: Any) -> Path:
    """A directory with the bundled model's configuration, changed."""
    said = json.loads((bundled_model() / "config.json").read_text("utf-8"))
    (directory / "config.json").write_text(json.dumps({**said, **changes}))
    return directory


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, r"chunked attention \(chunks of 8192 of at most 131072 tokens\), only full attention is supported"),
        ({"max_position_embeddings": 8193}, r"chunks of 8192 of at most 8193"),
        ({"attention_chunk_size": 1 << 17}, r"tuned by position \(from token 8192 of at most 131072\)"),
        ({"layer_types": ["full_attention"] * 4}, r"tuned by position"),
        ({"max_position_embeddings": 8192}, r"tuned by position \(from token 8192 of at most 8192\)"),
        (
            {"layer_types": ["full_attention", "indexed_attention"] * 2, "floor_scale": 1 << 18},
            "layers of indexed_attention",
        ),
        ({"max_position_embeddings": 8191}, None),
        ({"max_position_embeddings": 8192, "attn_temperature_tuning": False}, None),
        ({"attention_chunk_size": 1 << 17, "floor_scale": (1 << 17) + 1}, None),
    ],
)
def test_attention_that_far_tokens_have_otherwise_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str | None
) -> None:
    Llama4TextConfig(num_hidden_layers=4, architectures=["Llama4ForCausalLM"], **changes).save_pretrained(tmp_path)
    if told is None:
        assert read_config(tmp_path).model_type == "llama4_text"
    else:
        with pytest.raises(UnsupportedModelError, match=told):
            read_config(tmp_path)


def test_one_that_states_all_is_not_left_to_transformers(tmp_path: Path, asked: list[Path]) -> None:
    assert read_config(stating(tmp_path), bare=True).model_type == "qwen3"
    assert asked == []
    read_config(tmp_path)
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"sliding_window": 8},
        {"layer_types": ["full_attention"] * 5},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}},
        {"rope_parameters": None},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"quantization": 3},
    ],
)
def test_one_that_states_less_or_more_is_left_to_transformers(
    tmp_path: Path, asked: list[Path], changes: dict[str, Any]
) -> None:
    assert not isinstance(read_config(stating(tmp_path, **changes), bare=True), SimpleNamespace)
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"head_dim": None}, "head_dim.* expected int, got NoneType"),
        ({"vocab_size": True}, "vocab_size.* expected int, got bool"),
        ({"rms_norm_eps": 0}, "rms_norm_eps.* expected float, got int"),
        ({"use_sliding_window": True}, "uses sliding-window attention"),
        ({"model_type": "qwen2"}, "is 'Qwen3ForCausalLM', must be Qwen2ForCausalLM for model_type qwen2"),
        ({"architectures": ["Qwen3ForCausalLM"] * 2}, "must name one architecture"),
    ],
)
def test_one_that_transformers_is_left_to_refuse_is_told_as_ever(
    tmp_path: Path, asked: list[Path], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(EngineError, match=told):
        read_config(stating(tmp_path, **changes), bare=True)
    assert asked == [tmp_path]
