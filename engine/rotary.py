"""A rotary embedding's frequencies, as transformers computes them for Llama, Mistral, Qwen2 and Qwen3.

transformers keeps its rules of scaling in a small module. The plain rule stands in each model's module, whose import
takes seconds, so it is stated here.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.weights import head_width


def rotary_frequencies(config: Any) -> tuple[torch.Tensor, float]:
    """Returns the frequencies, (rotated dimensions / 2,), and the factor on sines and cosines."""
    rope = config.rope_parameters
    if rope["rope_type"] != "default":
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        found, scaling = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, device=torch.device("cpu"))
        return found, float(scaling)
    width = head_width(config)
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    return 1.0 / rope["rope_theta"] ** exponents, 1.0  # θ^(−2i/d)
