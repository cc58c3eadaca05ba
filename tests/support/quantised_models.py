"""Tiny models with quantised weights of random codes: what they say matters less than that it stays the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.tiny_models import damage, save_model

GROUP = 32  # rows of a matrix that share a scale
SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
DEVIATION = {bits: (4**bits / 12) ** 0.5 for bits in (4, 6)}  # of codes of so many bits, all equally likely


def save_quantised(directory: Path, method: str, architecture: str = "qwen2") -> Path:
    """A random model whose every matrix but the embedding (GPTQ: and the head) is quantised by `method`."""
    from safetensors.torch import load_file, save_file

    save_model(directory, architecture, **SHAPE)
    make = {"gptq": gptq, "exl2": exl2}[method]
    file, rng = directory / "model.safetensors", torch.Generator().manual_seed(1)
    stored = {}
    for name, tensor in load_file(file).items():
        matrix, _, part = name.rpartition(".")
        if part == "weight" and (matrix.endswith("_proj") or (method == "exl2" and matrix == "lm_head")):
            stored |= {f"{matrix}.{key}": value for key, value in make(*reversed(tensor.shape), rng).items()}
        else:
            stored[name] = tensor.half()
    save_file(stored, file, metadata={"format": "pt"})
    damage(directory, quantization_config={"quant_method": method, "bits": 4, "group_size": GROUP})
    return directory


def gptq(height: int, width: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """A matrix (height, width) of 4-bit codes around 8, as GPTQ's tools store it."""
    groups = height // GROUP
    zeros = torch.full((groups, width // 8), 0x77777777, dtype=torch.int32)  # one less than the code of zero
    scales = torch.full((groups, width), 2.0 / height**0.5 / DEVIATION[4], dtype=torch.half)
    return {
        "qweight": codes(height // 8, width, rng),
        "qzeros": zeros,
        "scales": scales,
        "g_idx": torch.arange(height, dtype=torch.int32) // GROUP,
    }


def exl2(height: int, width: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """A matrix (height, width) with a first half of 6-bit and a second of 4-bit codes, its rows in any order."""
    bits = [6 if 2 * group * GROUP < height else 4 for group in range(height // GROUP)]
    starts = [sum(bits[:group]) for group in range(len(bits))]  # a group of 32 rows has as many packed rows as bits
    return {
        "q_weight": codes(sum(bits), width, rng),
        "q_scale": torch.full((len(bits), width // 8), -1, dtype=torch.int32),  # every scale is its group's largest
        "q_scale_max": torch.tensor([2.0 / height**0.5 / DEVIATION[each] for each in bits], dtype=torch.half),
        "q_groups": torch.tensor([each for pair in zip(bits, starts, strict=True) for each in pair], dtype=torch.short),
        "q_invperm": torch.randperm(height, generator=rng).int(),
    }


def codes(rows: int, width: int, rng: torch.Generator) -> torch.Tensor:
    """Random words (rows, width), in which codes are packed."""
    return torch.randint(-(2**31), 2**31, (rows, width), generator=rng).int()
