"""A random model with the layers of Qwen3-8B: an engine's speed depends on the shape, not on the weights' values."""

from __future__ import annotations

import json
from pathlib import Path

import torch

HIDDEN, INNER, VOCABULARY, LAYERS = 4096, 12_288, 151_936, 36
HEADS, KV_HEADS, HEAD = 32, 8, 128
KV = KV_HEADS * HEAD
LAYER_BYTES = 2 * (2 * HIDDEN * HEADS * HEAD + 2 * HIDDEN * KV + 3 * HIDDEN * INNER)  # but for the norms
EMBEDDING_BYTES = 2 * VOCABULARY * HIDDEN
OTHER_BYTES = 2 * EMBEDDING_BYTES  # embedding and output layer
SPARE = 2 << 30  # bytes that are left free on the GPU and on the disk


def layers_that_fit(memory: int, room: int, cells: int, working: int) -> int:
    """Returns how many layers fit `memory` bytes of a GPU, beside a cache of `cells` cells, and `room` bytes of disk.

    On the GPU `working` bytes and SPARE are kept free; the embedding stays in main memory.
    """
    cached = 2 * 2 * KV * cells
    on_gpu = (memory - EMBEDDING_BYTES - working - SPARE) // (LAYER_BYTES + cached)
    on_disk = (room - OTHER_BYTES - SPARE) // LAYER_BYTES
    return max(0, min(LAYERS, on_gpu, on_disk))


def save_config(directory: Path, layers: int) -> None:
    """Writes the configuration of a Qwen3-8B that has `layers` layers."""
    from transformers import Qwen3Config

    Qwen3Config(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD,
        vocab_size=VOCABULARY,
        max_position_embeddings=40_960,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        tie_word_embeddings=False,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["Qwen3ForCausalLM"],
    ).save_pretrained(directory)


def layer_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a layer's tensors, by their names within it."""
    return {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.q_norm.weight": (HEAD,),
        "self_attn.k_norm.weight": (HEAD,),
        "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
        "self_attn.k_proj.weight": (KV, HIDDEN),
        "self_attn.v_proj.weight": (KV, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
    }


def save_model(directory: Path, layers: int, seed: int, device: str = "cuda") -> Path:
    """Writes a random half-precision model with `layers` layers, drawn on `device` from `seed`, one file per layer.

    Norms are ones; a matrix's values have variance 1 / columns, so that activations keep their size.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_config(directory, layers)
    rng = torch.Generator(device).manual_seed(seed)

    def drawn(shape: tuple[int, ...]) -> torch.Tensor:
        if len(shape) == 1:
            return torch.ones(shape, dtype=torch.half)
        return torch.randn(shape, generator=rng, device=device, dtype=torch.half).div_(shape[-1] ** 0.5).cpu()

    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "embed": {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)},
        "head": {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)},
    }
    for layer in range(layers):
        shapes = {f"model.layers.{layer}.{name}": shape for name, shape in layer_shapes().items()}
        parts[f"layer-{layer:02}"] = shapes
    files: dict[str, str] = {}
    for part, shapes in parts.items():
        save_file({name: drawn(shape) for name, shape in shapes.items()}, directory / f"{part}.safetensors")
        files |= dict.fromkeys(shapes, f"{part}.safetensors")
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}), encoding="utf-8")
    return directory
