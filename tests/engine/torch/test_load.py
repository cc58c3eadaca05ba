"""Loading models: what decodes exactly as transformers does, and what is refused and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.base import CorruptModelError, UnsupportedModelError
from engine.torch.config import Runner
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from tests.support.engine_requests import request, spec
from tests.support.ledger import Ledger
from tests.support.tiny_models import Oracle, damage, save_model

RUNNERS = [Runner.BARE, Runner.TRANSFORMERS]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}


def check(directory: Path, runner: Runner) -> None:
    """A small crowd with probes decodes as generate() says."""
    engine = TorchEngine(load_model(directory, runner), TorchEngineConfig(cells=512, max_batch=4, prefill_chunk=32))
    ledger = Ledger(engine)
    sequences = [ledger.submit(request(10 + 40 * i, 20, seed=i)) for i in range(3)]
    while not ledger.accounts[sequences[-1]].tokens:
        ledger.step()
    ledger.fork(sequences[-1], spec(), back=1)
    ledger.run()
    ledger.verify(Oracle(directory))


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": LINEAR}),
        ("qwen2", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen3", {"attention_bias": True}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen2", {"tie_word_embeddings": False}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1, "head_dim": 24}),
        ("qwen2", {"rms_norm_eps": 1e-2}),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 16}),  # as in Qwen2.5's own config.json
    ],
)
def test_variants_of_the_fast_architectures_decode_exactly(
    tmp_path: Path, runner: Runner, architecture: str, overrides: dict[str, Any]
) -> None:
    check(save_model(tmp_path, architecture, **overrides), runner)


@pytest.mark.parametrize("architecture", ["phi", "gpt_neox", "mistral", "gpt2"])
def test_other_architectures_decode_through_transformers(tmp_path: Path, architecture: str) -> None:
    check(save_model(tmp_path, architecture), Runner.AUTO)


def test_a_sliding_window_of_nothing_is_none(tmp_path: Path) -> None:
    assert load_model(save_model(tmp_path, "qwen2_moe")).shape.layers == 2  # its configuration says 0


def test_another_activation_takes_the_transformers_runner(tmp_path: Path) -> None:
    check(save_model(tmp_path, "llama", hidden_act="gelu"), Runner.AUTO)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_decoded_in_float32(tmp_path: Path, runner: Runner, dtype: torch.dtype) -> None:
    save_model(tmp_path, "qwen2")
    file = tmp_path / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    check(tmp_path, runner)


@pytest.mark.parametrize("runner", RUNNERS)
def test_weights_in_several_files_are_found(tmp_path: Path, runner: Runner) -> None:
    from transformers import AutoModelForCausalLM

    save_model(tmp_path / "one", "qwen3")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    check(tmp_path / "many", runner)


# --- refused


@pytest.fixture
def model(tmp_path: Path, model_directory: Callable[[str], Path]) -> Path:
    """A copy of the tiny Qwen2 model, to be damaged."""
    directory = tmp_path / "model"
    shutil.copytree(model_directory("qwen2"), directory)
    return directory


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    file = directory / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_the_bare_runner_names_what_it_knows(tmp_path: Path) -> None:
    save_model(tmp_path, "phi")
    with pytest.raises(UnsupportedModelError, match=r"PhiForCausalLM.*LlamaForCausalLM"):
        load_model(tmp_path, Runner.BARE)


@pytest.mark.parametrize("runner", list(Runner))
@pytest.mark.parametrize(
    ("architecture", "window"),
    [
        ("mistral", {"sliding_window": 32}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}),
    ],
)
def test_sliding_windows_are_refused(tmp_path: Path, runner: Runner, architecture: str, window: dict[str, Any]) -> None:
    save_model(tmp_path, architecture, **window)
    with pytest.raises(UnsupportedModelError, match=r"sliding-window attention \(window 32\)"):
        load_model(tmp_path, runner)


@pytest.mark.parametrize("runner", RUNNERS)
def test_positions_that_depend_on_the_longest_sequence_are_refused(tmp_path: Path, runner: Runner) -> None:
    factors = [1.0] * 8
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "short_factor": factors,
        "long_factor": [2.0 * factor for factor in factors],
        "original_max_position_embeddings": 64,
    }
    save_model(tmp_path, "llama", rope_parameters=rope)
    with pytest.raises(UnsupportedModelError, match="longrope"):
        load_model(tmp_path, runner)


@pytest.mark.parametrize("architecture", ["bloom", "falcon", "gptj", "stablelm", "mamba"])
def test_an_architecture_that_packing_would_change_is_refused(tmp_path: Path, architecture: str) -> None:
    """Positions as attention biases, attention code of their own, no attention at all: nothing is decoded wrongly."""
    save_model(tmp_path, architecture)
    with pytest.raises(UnsupportedModelError, match=f"(?i){architecture}ForCausalLM"):
        load_model(tmp_path)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    ViTModel(
        ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="ViTModel"):
        load_model(tmp_path)


@pytest.mark.parametrize("config", [None, "", "{", "[]", "{}", '{"model_type": "nonsense"}'])
def test_a_missing_or_damaged_config_is_named(model: Path, config: str | None) -> None:
    (model / "config.json").unlink()
    if config is not None:
        (model / "config.json").write_text(config)
    with pytest.raises((CorruptModelError, UnsupportedModelError), match=r"config\.json") as caught:
        load_model(model)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize("runner", RUNNERS)
def test_missing_weights_are_named(model: Path, runner: Runner) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(CorruptModelError, match=r"model\.safetensors is missing") as caught:
        load_model(model, runner)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_named(model: Path, runner: Runner, share: float) -> None:
    file = model / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptModelError) as caught:
        load_model(model, runner)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.bias", "model.norm.weight"]
)
def test_a_missing_tensor_is_named(model: Path, runner: Runner, name: str) -> None:
    def drop(weights: dict[str, torch.Tensor]) -> None:
        del weights[name]

    rewrite(model, drop)
    with pytest.raises(CorruptModelError, match=name) as caught:
        load_model(model, runner)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(model: Path, runner: Runner) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"

    def cut(weights: dict[str, torch.Tensor]) -> None:
        weights[name] = weights[name][:, :60].contiguous()

    rewrite(model, cut)
    with pytest.raises(CorruptModelError, match=name) as caught:
        load_model(model, runner)
    assert str(model) in str(caught.value)
    assert "64, 60" in str(caught.value)
    assert "64, 64" in str(caught.value)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_config_that_the_weights_do_not_fit_is_refused(model: Path, runner: Runner) -> None:
    damage(model, num_hidden_layers=3, layer_types=None)
    with pytest.raises(CorruptModelError, match=r"model\.layers\.2"):
        load_model(model, runner)


@pytest.mark.parametrize("runner", RUNNERS)
def test_weights_that_are_not_finite_are_refused(model: Path, runner: Runner) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"][3] = torch.nan

    rewrite(model, spoil)
    with pytest.raises(CorruptModelError, match=r"model\.norm\.weight holds values that are not finite"):
        load_model(model, runner)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("index", ["{", "{}", '{"weight_map": {"a": "absent.safetensors"}}'])
def test_a_damaged_index_is_named(model: Path, runner: Runner, index: str) -> None:
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(
        CorruptModelError, match=r"index\.json: (is not JSON|weight_map is null)|absent\.safetensors is missing"
    ):
        load_model(model, runner)


@pytest.mark.parametrize("runner", RUNNERS)
def test_quantised_weights_are_refused(model: Path, runner: Runner) -> None:
    damage(model, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UnsupportedModelError, match="gptq"):
        load_model(model, runner)
