"""A random model with the layers of a 7B model: an engine's speed depends on the shape, not on the weights' values."""

from __future__ import annotations

import json
from pathlib import Path

import torch

HIDDEN, INNER, KV, VOCABULARY = 3584, 18_944, 512, 152_064  # Qwen2.5-7B: 28 heads over 4 KV heads
LAYERS = 28
LAYER_BYTES = 2 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV + 3 * HIDDEN * INNER)
OTHER_BYTES = 2 * 2 * VOCABULARY * HIDDEN  # embedding and output layer


def save_model(directory: Path, layers: int, seed: int) -> Path:
    """Writes a random half-precision Qwen2 with `layers` layers of a 7B model, drawn on the GPU, one file per layer."""
    from safetensors.torch import save_file
    from transformers import Qwen2Config

    Qwen2Config(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(directory)
    rng = torch.Generator("cuda").manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, device="cuda", dtype=torch.half).div_(shape[-1] ** 0.5).cpu()

    ones = torch.ones(HIDDEN, dtype=torch.half)
    save_file({"model.embed_tokens.weight": noise(VOCABULARY, HIDDEN)}, directory / "embed.safetensors")
    save_file({"model.norm.weight": ones, "lm_head.weight": noise(VOCABULARY, HIDDEN)}, directory / "head.safetensors")
    files = {"model.embed_tokens.weight": "embed.safetensors", "model.norm.weight": "head.safetensors"}
    files["lm_head.weight"] = "head.safetensors"
    for layer in range(layers):
        name = f"model.layers.{layer}."
        tensors = {
            f"{name}input_layernorm.weight": ones,
            f"{name}post_attention_layernorm.weight": ones,
            f"{name}self_attn.q_proj.weight": noise(HIDDEN, HIDDEN),
            f"{name}self_attn.q_proj.bias": noise(HIDDEN),
            f"{name}self_attn.k_proj.weight": noise(KV, HIDDEN),
            f"{name}self_attn.k_proj.bias": noise(KV),
            f"{name}self_attn.v_proj.weight": noise(KV, HIDDEN),
            f"{name}self_attn.v_proj.bias": noise(KV),
            f"{name}self_attn.o_proj.weight": noise(HIDDEN, HIDDEN),
            f"{name}mlp.gate_proj.weight": noise(INNER, HIDDEN),
            f"{name}mlp.up_proj.weight": noise(INNER, HIDDEN),
            f"{name}mlp.down_proj.weight": noise(HIDDEN, INNER),
        }
        save_file(tensors, directory / f"layer-{layer:02}.safetensors")
        files |= dict.fromkeys(tensors, f"layer-{layer:02}.safetensors")
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}), encoding="utf-8")
    return directory
