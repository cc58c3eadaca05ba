"""The random model has the shape of Qwen3-8B, and no more of it than fits."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.gpu import big_model
from engine.exllama.load import check_model

GIB = 1 << 30


def test_a_layer_has_the_tensors_that_transformers_gives_it(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    big_model.save_config(tmp_path, layers=1)
    config = AutoConfig.from_pretrained(tmp_path)
    with torch.device("meta"):
        state = AutoModelForCausalLM.from_config(config).state_dict()
    prefix = "model.layers.0."
    theirs = {name.removeprefix(prefix): tuple(value.shape) for name, value in state.items() if prefix in name}
    assert theirs == big_model.layer_shapes()
    sizes = [2 * value.numel() for name, value in state.items() if prefix in name and value.dim() == 2]
    assert sum(sizes) == big_model.LAYER_BYTES
    assert 2 * state["lm_head.weight"].numel() == big_model.EMBEDDING_BYTES


def test_what_is_written_is_a_model_that_the_engine_accepts(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    small = {"HIDDEN": 128, "INNER": 256, "VOCABULARY": 64, "HEADS": 2, "KV_HEADS": 1, "HEAD": 64, "KV": 64}
    for name, value in small.items():
        monkeypatch.setattr(big_model, name, value)
    directory = big_model.save_model(tmp_path / "model", layers=2, seed=0, device="cpu")
    config = check_model(directory)
    assert config.num_hidden_layers == 2
    assert config.rope_parameters["rope_theta"] == 1e6


def test_layers_are_bounded_by_the_gpu_and_by_the_room() -> None:
    def fit(memory: int, room: int) -> int:
        return big_model.layers_that_fit(memory, room, cells=49_152, working=GIB)

    assert fit(80 * GIB, 64 * GIB) == 36
    assert fit(12 * GIB, 64 * GIB) < 36
    assert fit(80 * GIB, 8 * GIB) == 10
    assert fit(2 * GIB, 64 * GIB) == 0
