"""Loading for ExLlamaV2: what is put right, what is refused and why. All of it short of CUDA itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.base import CapacityError, CorruptModelError, EngineUnavailableError, UnsupportedModelError
from engine.checkpoint import read_config
from engine.exllama.config import CacheType, ExLlamaConfig
from engine.exllama.load import (
    QUANTISED,
    WORKING,
    cache_bytes,
    check_machine,
    check_memory,
    check_model,
    configured,
    gpu_bytes,
    weights_bytes,
)
from engine.registry import AutoOptions, chosen, engine_options, open_engine
from engine.torch.engine import TorchEngine
from tests.support.history_model import HistoryModel, import_exllamav2
from tests.support.tiny_models import ARCHITECTURES, damage, save_model

FITTING = {"num_attention_heads": 2, "head_dim": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def fitting(directory: Path, architecture: str = "llama", **overrides: Any) -> Path:
    """A tiny model of a shape that ExLlamaV2 takes."""
    return save_model(directory, architecture, **{**FITTING, **overrides})


# --- this machine


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is missing without CUDA")
def test_without_a_gpu_the_engine_says_what_it_needs() -> None:
    with pytest.raises(EngineUnavailableError, match=r"needs an NVIDIA GPU, torch .* finds none: choose the torch"):
        check_machine()


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is chosen without CUDA")
def test_the_best_engine_without_a_gpu_is_torch(tmp_path: Path) -> None:
    directory = fitting(tmp_path)
    assert chosen(directory) == "torch"
    opened = open_engine(directory, AutoOptions(cells=256))
    assert (opened.kind, opened.vocabulary) == ("torch", 128)
    assert isinstance(opened.engine, TorchEngine)
    with pytest.raises(EngineUnavailableError):
        open_engine(directory, engine_options("exllama", {}))


# --- the model


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_models_that_fit_pass(tmp_path: Path, architecture: str) -> None:
    assert check_model(fitting(tmp_path, architecture)).architectures == [
        ARCHITECTURES[architecture][0][:-6] + "ForCausalLM"
    ]


def test_an_architecture_that_upstream_would_take_for_llama_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"PhiForCausalLM is not served .* LlamaForCausalLM"):
        check_model(save_model(tmp_path, "phi"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"head_dim": 32}, "head_dim is 32, must be a multiple of 64"),
        ({"intermediate_size": 100}, "intermediate_size is 100, must be a multiple of 32"),
    ],
)
def test_shapes_that_the_kernels_do_not_take_are_refused(
    tmp_path: Path, overrides: dict[str, int], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check_model(fitting(tmp_path, **overrides))


def test_a_sliding_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="window 16"):
        check_model(fitting(tmp_path, "mistral", sliding_window=16))


@pytest.mark.parametrize("method", ["gptq", "exl2", "awq"])
def test_of_quantised_weights_those_it_can_read_are_taken(tmp_path: Path, method: str) -> None:
    damage(fitting(tmp_path), quantization_config={"quant_method": method, "bits": 4})
    if method == "awq":
        with pytest.raises(UnsupportedModelError, match=r"quantised \(awq\), only plain weights and exl2 and gptq"):
            check_model(tmp_path)
    else:
        check_model(tmp_path)


def test_a_model_without_its_weights_is_refused(tmp_path: Path) -> None:
    (fitting(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(CorruptModelError, match=r"model\.safetensors is missing"):
        weights_bytes(tmp_path)


# --- memory


def test_weights_are_counted_in_half_precision(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    directory = fitting(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(directory)
    stored = sum(tensor.numel() for tensor in model.state_dict().values())
    assert weights_bytes(directory) == 2 * stored


@pytest.mark.parametrize(("kind", "bits"), [("fp16", 16.0), ("q8", 8.5), ("q6", 6.5), ("q4", 4.5)])
def test_the_cache_is_counted_as_exllamav2_allocates_it(tmp_path: Path, kind: str, bits: float) -> None:
    import_exllamav2()
    import exllamav2

    config = read_config(fitting(tmp_path))
    cells = 1024
    cache = {
        "fp16": exllamav2.ExLlamaV2Cache,
        "q8": exllamav2.ExLlamaV2Cache_Q8,
        "q6": exllamav2.ExLlamaV2Cache_Q6,
        "q4": exllamav2.ExLlamaV2Cache_Q4,
    }[kind]
    model = SimpleNamespace(
        config=SimpleNamespace(num_hidden_layers=2, num_key_value_heads=2, head_dim=64, max_seq_len=cells),
        cache_map={0: "cpu", 1: "cpu"},
        get_cache_devices=lambda: ["cpu"],
    )
    made = cache(model, max_seq_len=cells)
    stored = made.key_states + made.value_states + made.key_scales + made.value_scales
    assert sum(tensor.nbytes for tensor in stored) == 2 * 2 * 2 * 64 * cells * bits / 8
    attended = [tensor for pair in getattr(made, "temp_tensors", {}).values() for tensor in pair]
    assert sum(tensor.nbytes for tensor in [*stored, *attended]) == cache_bytes(config, cells, CacheType(kind))


def test_too_little_memory_is_refused_with_what_is_needed_and_what_there_is(tmp_path: Path) -> None:
    config = read_config(fitting(tmp_path))
    settings = ExLlamaConfig(cells=1 << 20, cache=CacheType.Q8)
    with pytest.raises(CapacityError, match=r"needs about 2\.0 GiB .*1048576 cells of q8.* 1\.2 GiB are free: fewer"):
        check_memory(tmp_path, config, settings, int(1.2 * 2**30))
    check_memory(tmp_path, config, settings, int(2.1 * 2**30))
    with pytest.raises(CapacityError, match="cells is 512, must be at least 768"):
        check_memory(tmp_path, config, ExLlamaConfig(cells=512), 2**40)


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_is_counted_where_the_gpu_has_it(tmp_path: Path, tied: bool) -> None:
    """As the head of a model that has one matrix for both; otherwise it stays in main memory."""
    directory = fitting(tmp_path, tie_word_embeddings=tied)
    config = read_config(directory)
    embedding = 2 * config.vocab_size * config.hidden_size
    assert weights_bytes(directory) - gpu_bytes(directory, config) == (0 if tied else embedding)


def test_quantised_weights_need_room_to_be_dequantised(tmp_path: Path) -> None:
    directory = fitting(tmp_path, vocab_size=65_536)
    plain = read_config(directory)
    damage(directory, quantization_config={"quant_method": "exl2", "bits": 4})
    needs = gpu_bytes(directory, plain) + cache_bytes(plain, 1024, CacheType.FP16) + WORKING
    settings = ExLlamaConfig(cells=1024)
    check_memory(directory, plain, settings, needs)
    matrix = 2 * 65_536 * plain.hidden_size
    check_memory(directory, read_config(directory, QUANTISED), settings, needs + matrix)
    with pytest.raises(CapacityError):
        check_memory(directory, read_config(directory, QUANTISED), settings, needs + matrix - 1)


# --- the rotary embedding and the norms that upstream misreads


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 1_000_000.0},
        {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
        LLAMA3,
    ],
)
def test_rotary_embeddings_are_put_right(tmp_path: Path, rope: dict[str, Any]) -> None:
    import_exllamav2()
    directory = fitting(tmp_path, rope_parameters=rope)
    exl = configured(directory, read_config(directory), ExLlamaConfig())
    assert exl.rotary_embedding_base == rope["rope_theta"]
    assert exl.no_sdpa


def test_left_alone_upstream_would_take_another_theta(tmp_path: Path) -> None:
    """That is why it is set, and the check would tell."""
    import_exllamav2()
    from exllamav2 import ExLlamaV2Config

    from engine.exllama.rope import check_rope

    directory = fitting(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0})
    exl = ExLlamaV2Config(str(directory))
    assert exl.rotary_embedding_base == 10_000.0
    with pytest.raises(UnsupportedModelError, match="ExLlamaV2 would use"):
        check_rope(exl, read_config(directory))


def test_a_rotary_embedding_that_upstream_works_out_otherwise_is_refused(tmp_path: Path) -> None:
    """Upstream's YaRN takes the longest context for the one that the model was first trained on."""
    import_exllamav2()
    rope = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
    directory = fitting(tmp_path, rope_parameters=rope)
    with pytest.raises(UnsupportedModelError, match=r"would be decoded wrongly.*\(yarn\) has frequency"):
        configured(directory, read_config(directory), ExLlamaConfig())


def test_head_norms_are_root_mean_square_norms(tmp_path: Path) -> None:
    import_exllamav2()
    directory = fitting(tmp_path, "qwen3")
    exl = configured(directory, read_config(directory), ExLlamaConfig())
    assert exl.arch.lm.headnorm == "rmsnorm"


@pytest.mark.parametrize("rms", [True, False])
def test_a_head_norm_that_subtracts_the_mean_is_refused(monkeypatch: pytest.MonkeyPatch, rms: bool) -> None:
    """The extension's kernel is told which; this stands in for it, right and wrong."""
    import_exllamav2()
    from exllamav2.headnorm import ExLlamaV2HeadNorm

    from engine.exllama.selftest import check_head_norm

    def head_norm(x: torch.Tensor, weight: torch.Tensor, _bias: Any, out: torch.Tensor, eps: float, _: bool) -> None:
        wide = x.float()
        wide = wide if rms else wide - wide.mean(dim=-1, keepdim=True)
        out.copy_(wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + eps) * weight)

    monkeypatch.setattr(sys.modules["exllamav2_ext"], "head_norm", head_norm, raising=False)
    lm = SimpleNamespace(headnorm="rmsnorm", norm_constant_bias=0)
    model = SimpleNamespace(config=SimpleNamespace(norm_eps=1e-6, arch=SimpleNamespace(lm=lm)))
    norm = ExLlamaV2HeadNorm(model, "q_norm", 2, 64, archparams=lm)
    norm.weight = torch.nn.Parameter(torch.linspace(0.5, 1.5, 128).view(2, 64))
    model.modules = [SimpleNamespace(q_norm=norm)]
    if rms:
        check_head_norm(model)
    else:
        with pytest.raises(UnsupportedModelError, match="q_norm is not a root mean square norm"):
            check_head_norm(model)


# --- the self-test of attention


class Acausal(HistoryModel):
    """Every token sees the last one of its pass."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        shifted = (input_ids + input_ids[:, -1:]) % self.config.vocab_size
        return super().forward_chunk(shifted, attn_params, cache, **options)


class PageBlind(HistoryModel):
    """Reads and writes the first pages, whatever the table says."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        attn_params.cache_seqlens = torch.zeros_like(attn_params.cache_seqlens)
        return super().forward_chunk(input_ids, attn_params, cache, **options)


class Forgetful(HistoryModel):
    """Sees only the second half of every pass."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        cut = input_ids.clone()
        cut[:, : cut.shape[1] // 2] = 0
        return super().forward_chunk(cut, attn_params, cache, **options)


class OneTable(HistoryModel):
    """Reads and writes the first row's pages for every row."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        attn_params.block_index = attn_params.block_index[:1].expand_as(attn_params.block_index)
        return super().forward_chunk(input_ids, attn_params, cache, **options)


class InARow(HistoryModel):
    """Takes a row's pages to lie one behind the other."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        table = attn_params.block_index
        attn_params.block_index = (table[:, :1] + torch.arange(table.shape[1])) % 4
        return super().forward_chunk(input_ids, attn_params, cache, **options)


class Overflowing(HistoryModel):
    """Its logits are no numbers once a token sees 300 others."""

    def forward_chunk(self, input_ids: torch.Tensor, attn_params: Any, cache: Any, **options: Any) -> Any:
        found = super().forward_chunk(input_ids, attn_params, cache, **options)
        far = attn_params.cache_seqlens[:, None] + torch.arange(input_ids.shape[1]) > 300
        found["logits"][far] = torch.nan
        return found


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (HistoryModel, None),
        (Overflowing, "overflow in half precision"),
        (OneTable, "paged attention is wrong"),
        (InARow, "paged attention is wrong"),
        (Acausal, "not causal"),
        (PageBlind, "paged attention is wrong"),
        (Forgetful, "cut short"),
    ],
)
def test_attention_that_sees_too_much_or_too_little_is_refused(kind: type[HistoryModel], message: str | None) -> None:
    import_exllamav2()
    from exllamav2 import ExLlamaV2Cache

    from engine.exllama.selftest import check_attention

    model = kind()
    cache = ExLlamaV2Cache(model, max_seq_len=1024)
    if message is None:
        check_attention(model, cache, 256)
    else:
        with pytest.raises(UnsupportedModelError, match=message):
            check_attention(model, cache, 256)
