"""Every tensor of the weights is used or named, on every runner; types that hold codes are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.base import CorruptModelError, EngineError, UnsupportedModelError
from engine.checkpoint import read_config
from engine.exllama.load import QUANTISED
from engine.exllama.weights import check_weights
from engine.torch.config import Runner
from engine.torch.load import load_model
from engine.weights import listed
from tests.support.tiny_models import damage, save_model

Weights = dict[str, torch.Tensor]
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
MATRIX = Q_PROJ.removesuffix(".weight")


def load(directory: Path, by: str) -> Any:
    """Loads by a runner of the torch engine, or does what ExLlamaV2's loader does before it needs a GPU."""
    if by == "exllama":
        return check_weights(directory, read_config(directory, QUANTISED))
    return load_model(directory, Runner(by))


every = pytest.mark.parametrize("by", ["bare", "transformers", "exllama"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Where a tiny model lies; each is made once."""
    made: dict[str, Path] = {}

    def find(architecture: str, *, tied: bool = False) -> Path:
        key = f"{architecture}-{tied}"
        if key not in made:
            made[key] = save_model(tmp_path_factory.mktemp(key), architecture, tie_word_embeddings=tied)
        return made[key]

    return find


@pytest.fixture
def model(tmp_path: Path, saved: Callable[..., Path]) -> Callable[..., Path]:
    """A copy of a tiny model whose weights were changed."""

    def copy(change: Callable[[Weights], object] = lambda weights: None, of: str = "qwen3", tied: bool = False) -> Path:
        directory = tmp_path / "model"
        shutil.copytree(saved(of, tied=tied), directory)
        weights = load_file(directory / "model.safetensors")
        change(weights)
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return directory

    return copy


def lora(weights: Weights) -> None:
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        weights[name.replace(".weight", ".lora_A.weight")] = torch.zeros(2, weights[name].shape[1])
        weights[name.replace(".weight", ".lora_B.weight")] = torch.zeros(weights[name].shape[0], 2)


def biases(weights: Weights) -> None:
    for name in [name for name in weights if "self_attn" in name and name.endswith("_proj.weight")]:
        weights[name.replace(".weight", ".bias")] = torch.ones(weights[name].shape[0])


@every
@pytest.mark.parametrize(
    ("of", "change", "told"),
    [
        (
            "qwen3",
            lora,
            r"hold the tensors model\.layers\.0\.mlp\.down_proj\.lora_A\.weight, .* and 39 more, which Qwen3",
        ),
        ("qwen3", biases, r"the tensors model\.layers\.0\.self_attn\.k_proj\.bias, .* and 9 more"),
        ("llama", biases, r"the tensors model\.layers\.0\.self_attn\.k_proj\.bias, .* and 5 more"),
        (
            "llama",
            lambda weights: weights.update({"v_head.weight": torch.ones(1, 64)}),
            r"the tensor v_head\.weight, which",
        ),
        (
            "qwen2",
            lambda weights: weights.update({"model.layers.0.self_attn.o_proj.bias": torch.ones(64)}),
            r"the tensor model\.layers\.0\.self_attn\.o_proj\.bias, which Qwen2ForCausalLM has no use for",
        ),
        (
            "llama",
            lambda weights: weights.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(16)}),
            r"the tensor model\.layers\.0\.self_attn\.q_norm\.weight",
        ),
    ],
)
def test_a_tensor_without_a_use_is_named(
    model: Callable[..., Path], by: str, of: str, change: Callable[[Weights], object], told: str
) -> None:
    directory = model(change, of)
    with pytest.raises(UnsupportedModelError, match=told) as no:
        load(directory, by)
    assert str(no.value).startswith(str(directory))
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(("of", "name"), [("phi", "model.layers.0.adapter"), ("gpt2", "h.0.attn.scale")])
def test_other_architectures_name_it_too(model: Callable[..., Path], of: str, name: str) -> None:
    directory = model(lambda weights: weights.update({name: torch.ones(3)}), of)
    with pytest.raises(UnsupportedModelError, match=name.replace(".", r"\.")):
        load(directory, "transformers")


@every
@pytest.mark.parametrize("part", ["mlp.up_proj.weight", "post_attention_layernorm.weight", "self_attn.q_norm.weight"])
def test_every_missing_tensor_is_counted(model: Callable[..., Path], by: str, part: str) -> None:
    directory = model(lambda weights: [weights.pop(name) for name in list(weights) if name.endswith(part)])
    with pytest.raises(CorruptModelError, match=rf"lack the tensors model\.layers\.0\.{re.escape(part)}, .*layers\.2"):
        load(directory, by)


@every
def test_names_of_another_tool_are_told_as_missing_and_unused(model: Callable[..., Path], by: str) -> None:
    def rename(weights: Weights) -> None:
        for name in list(weights):
            weights[f"base_model.model.{name}"] = weights.pop(name)

    with pytest.raises(EngineError, match=r"lack the tensors .* and \d+ more; they hold the tensors base_model\.model"):
        load(model(rename), by)


@every
@pytest.mark.parametrize("what", ["rotary", "copy", "head alone"])
def test_what_says_nothing_new_is_taken(model: Callable[..., Path], by: str, what: str) -> None:
    """Old files keep the rotary frequencies, some keep a tied matrix twice, or as the head."""

    def add(weights: Weights) -> None:
        if what == "rotary":
            weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
        elif what == "copy":
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        else:
            weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")

    load(model(add, tied=True), by)


@every
def test_a_head_that_differs_from_the_embedding_it_is_tied_to_is_refused(model: Callable[..., Path], by: str) -> None:
    directory = model(lambda weights: weights.update({"lm_head.weight": torch.ones(128, 64)}), tied=True)
    with pytest.raises(CorruptModelError, match=r"config\.json .*lm_head\.weight.* differ"):
        load(directory, by)


@every
@pytest.mark.parametrize(
    ("dtype", "called"),
    [
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.int32, "I32"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.float8_e5m2, "F8_E5M2"),
        (torch.bool, "BOOL"),
    ],
)
def test_types_that_hold_codes_are_refused(
    model: Callable[..., Path], by: str, dtype: torch.dtype, called: str
) -> None:
    def quantise(weights: Weights) -> None:
        weights.update({name: tensor.to(dtype) for name, tensor in weights.items() if "proj" in name})

    with pytest.raises(UnsupportedModelError, match=rf"of type {called}, must be of F64, .*down_proj\.weight, .* more"):
        load(model(quantise), by)


def test_masks_that_old_files_keep_are_no_weights(model: Callable[..., Path]) -> None:
    load(
        model(lambda weights: weights.update({"h.0.attn.bias": torch.ones(1, 1, 8, 8).bool()}), "gpt2"), "transformers"
    )


@every
@pytest.mark.parametrize(
    "settings",
    [
        {"compression_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}},
        {"quantization_config": {"quant_method": "fp8"}},
        {"quantization_config": {}},
        {"text_config": {"quantization_config": {"quant_method": "awq"}}},
        {"quantization_config": {"quant_method": ["awq"]}},
    ],
)
def test_a_configuration_that_says_quantised_is_refused(
    model: Callable[..., Path], by: str, settings: dict[str, Any]
) -> None:
    directory = model()
    damage(directory, **settings)
    with pytest.raises(
        UnsupportedModelError, match=r"(quantization|compression)_config says that the weights are quant"
    ):
        load(directory, by)


@every
def test_an_adapter_beside_the_weights_is_refused(model: Callable[..., Path], by: str) -> None:
    directory = model()
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedModelError, match=r"adapter_config\.json names an adapter, which must be merged"):
        load(directory, by)


# --- the index


def indexed(directory: Path, weight_map: object) -> Path:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


@every
@pytest.mark.parametrize(
    ("weight_map", "told"),
    [
        ({}, "weight_map is empty, must name the file of each tensor"),
        (None, "weight_map is null"),
        ([1], "weight_map is a list"),
        ({Q_PROJ: 3}, "is 3, must be a .safetensors file of the same directory"),
        ({Q_PROJ: "../model.safetensors"}, r"is '\.\./model\.safetensors', must be"),
        ({Q_PROJ: "/etc/passwd"}, "is '/etc/passwd', must be"),
        ({Q_PROJ: "a/b.safetensors"}, "is 'a/b.safetensors', must be"),
        ({Q_PROJ: "a\0.safetensors"}, "must be a"),
        ({Q_PROJ: "pytorch_model.bin"}, "is 'pytorch_model.bin', must be a .safetensors file"),
        ({Q_PROJ: "absent.safetensors"}, r"absent\.safetensors is missing"),
        ({"nowhere.weight": "model.safetensors"}, "places the tensor nowhere.weight in files that do not hold it"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(model: Callable[..., Path], by: str, weight_map: Any, told: str) -> None:
    with pytest.raises(CorruptModelError, match=told) as no:
        load(indexed(model(), weight_map), by)
    assert "model" in str(no.value)


@every
def test_two_sets_of_weights_are_refused(model: Callable[..., Path], by: str) -> None:
    directory = model()
    shutil.copy(directory / "model.safetensors", directory / "other.safetensors")
    with pytest.raises(CorruptModelError, match="are both there"):
        load(indexed(directory, {Q_PROJ: "other.safetensors"}), by)
    indexed(directory, {Q_PROJ: "other.safetensors", "model.norm.weight": "model.safetensors"})
    with pytest.raises(CorruptModelError, match=r"model\.safetensors and other\.safetensors both hold"):
        load(directory, by)


@every
def test_weights_of_another_kind_are_told(model: Callable[..., Path], by: str) -> None:
    directory = model()
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(CorruptModelError, match=r"safetensors is missing; pytorch_model\.bin is there: convert"):
        load(directory, by)
    (directory / "model.safetensors").mkdir()
    with pytest.raises(CorruptModelError, match=r"model\.safetensors: is a directory, must be a file"):
        load(directory, by)


# --- quantised


def gptq(weights: Weights, bias: float = 0.0) -> None:
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        matrix, width = name.removesuffix(".weight"), weights.pop(name).shape[0]
        for part in ("qweight", "qzeros", "g_idx"):
            weights[f"{matrix}.{part}"] = torch.zeros(4, 8, dtype=torch.int32)
        weights[f"{matrix}.scales"] = torch.ones(1, width, dtype=torch.float16)
        weights[f"{matrix}.bias"] = torch.full((width,), bias)


def test_quantised_parts_stand_for_their_matrices(model: Callable[..., Path]) -> None:
    directory = model(gptq)
    damage(directory, quantization_config={"quant_method": "gptq", "bits": 4})
    load(directory, "exllama")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda weights: gptq(weights, bias=1.0), r"down_proj\.bias, .*, which Qwen3ForCausalLM has no use for"),
        (lambda weights: (gptq(weights), weights.pop("model.norm.weight")), r"lack the tensor model\.norm\.weight"),
        (lambda weights: (gptq(weights), weights.pop(f"{MATRIX}.qweight")), r"lack the tensor .*q_proj\.qweight"),
        (lambda weights: (gptq(weights), weights.pop(f"{MATRIX}.scales")), r"lack the tensor .*q_proj\.scales"),
        (lambda weights: (gptq(weights), weights.update({"x": torch.ones(2)})), "hold the tensor x"),
    ],
)
def test_quantised_weights_are_used_or_named_too(
    model: Callable[..., Path], change: Callable[[Weights], object], told: str
) -> None:
    directory = model(change)
    damage(directory, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(EngineError, match=told):
        load(directory, "exllama")


def test_names_are_printable_and_few() -> None:
    assert listed(["b", "a"]) == "the tensors a, b"
    assert listed(["a\nb"]) == "the tensor 'a\\nb'"
    assert listed(map(str, range(9))) == "the tensors 0, 1, 2 and 6 more"
