"""Rotary embeddings are transformers' own to the last bit, though its models' modules are not imported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from engine.rotary import rotary_frequencies

SCALED = {"factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 1_000_000.0},
        {"rope_type": "default", "rope_theta": 10_000},
        {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
        {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0},
        {"rope_type": "yarn", "rope_theta": 10_000.0, **SCALED},
        {"rope_type": "llama3", "rope_theta": 10_000.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **SCALED},
    ],
    ids=lambda rope: rope["rope_type"],
)
@pytest.mark.parametrize("head_dim", [32, 10])
def test_frequencies_are_transformers_own(rope: dict[str, Any], head_dim: int) -> None:
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=4, head_dim=head_dim, max_position_embeddings=256, rope_parameters=rope
    )
    found, scaling = rotary_frequencies(config)
    expected: Any = LlamaRotaryEmbedding(config)
    assert torch.equal(found, expected.inv_freq)
    assert scaling == expected.attention_scaling
