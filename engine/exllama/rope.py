"""Sets ExLlamaV2's rotary embedding from a model's configuration and checks it against transformers' own.

ExLlamaV2 0.3.2 reads `rope_theta` and `rope_scaling`. Configurations saved by transformers 5 have `rope_parameters`
instead: ExLlamaV2 would silently take theta 10,000 and no scaling.
"""

from __future__ import annotations

from typing import Any

from engine.base import UnsupportedModelError
from engine.rotary import rotary_frequencies

TOLERANCE = 1e-4  # relative, of frequencies


def set_rope(exl: Any, config: Any) -> None:
    """Set the rotary fields of an ExLlamaV2Config from a transformers configuration."""
    rope = config.rope_parameters
    exl.rotary_embedding_base = float(rope["rope_theta"])
    exl.partial_rotary_factor = float(rope.get("partial_rotary_factor", 1.0))
    exl.alt_rope_method, exl.scale_pos_emb = None, 1.0
    match rope["rope_type"]:
        case "linear":
            exl.scale_pos_emb = float(rope["factor"])
        case "llama3":
            exl.alt_rope_method = "llama3"
            exl.l3_rope_factor = rope["factor"]
            exl.l3_rope_low_freq_factor = rope["low_freq_factor"]
            exl.l3_rope_high_freq_factor = rope["high_freq_factor"]
            exl.l3_rope_original_max_position_embeddings = rope["original_max_position_embeddings"]
        case "yarn":
            exl.alt_rope_method = "yarn"
            exl.yarn_rope_factor = rope["factor"]
            exl.yarn_rope_original_max_position_embeddings = rope["original_max_position_embeddings"]


def check_rope(exl: Any, config: Any) -> None:
    """Raises UnsupportedModelError if ExLlamaV2 would rotate keys by other angles than transformers does."""
    from exllamav2.rope import get_rope_params

    frequencies, scaling = get_rope_params("cpu", exl, exl.rotary_embedding_base)
    frequencies = frequencies / (exl.scale_pos_emb or 1.0)
    expected, expected_scaling = rotary_frequencies(config)
    kind = config.rope_parameters["rope_type"]
    if frequencies.shape != expected.shape:
        raise UnsupportedModelError(
            f"the rotary embedding ({kind}) has {len(expected)} frequencies, ExLlamaV2 would use {len(frequencies)}"
        )
    worst = int(((frequencies - expected).abs() / expected).argmax())
    ours, theirs = float(frequencies[worst]), float(expected[worst])
    if abs(ours - theirs) > TOLERANCE * theirs or abs(scaling - expected_scaling) > TOLERANCE:
        raise UnsupportedModelError(
            f"the rotary embedding ({kind}) has frequency {theirs:.6g} and scale {expected_scaling:.4g}, ExLlamaV2 "
            f"would use {ours:.6g} and {scaling:.4g}"
        )
