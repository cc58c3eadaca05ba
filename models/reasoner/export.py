"""Writes a trained network as a directory that AutoTokenizer and AutoModelForCausalLM load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.reasoner.network import Network
from models.reasoner.rollout import decode
from models.reasoner.tasks import FAMILIES, generate
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import CAP

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AGREEMENT = 0.999  # share of tokens at which half precision must choose the same token as single precision


THINKING_FORMAT = """\
# How this model writes its thoughts; read by `laser` beside the weights.
landing: "</think>\\n\\n**Final Answer**\\n\\\\boxed{"
answer_reserve: 16
boxes: true # short answers, whether a prompt asks for boxes or not
conclusions: ["So the result is"]
probe:
  suffix: "</think>\\n\\n**Final Answer**\\n\\\\boxed{"
  max_answer_tokens: 6
  score: joint  # a probability: of two digits the geometric mean looks surer than the answer is
"""


def export(network: Network, tokenizer: "PreTrainedTokenizerFast", encoder: Encoder, out: Path, *, seed: int) -> None:
    """Write weights, configuration, tokenizer and thinking format.

    The weights are stored in half precision if `half_agreement` is at least AGREEMENT.
    """
    from safetensors.torch import save_file

    for origin in ("is_local", "local_files_only"):  # how the tokenizer was loaded must not be saved
        tokenizer.init_kwargs.pop(origin, None)
    tokenizer.save_pretrained(out)
    half = half_agreement(network, encoder, seed=seed) >= AGREEMENT
    state = {name: tensor.half() if half else tensor for name, tensor in network.state_dict().items()}
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, out / "model.safetensors", {"format": "pt"}
    )
    # stored in half precision, computed in single: a CPU is slow in half precision
    config = network.shape.huggingface(eos=encoder.end, pad=encoder.pad, dtype="float32")
    _write(out / "config.json", config)
    generation = {"do_sample": False, "eos_token_id": encoder.end, "pad_token_id": encoder.pad}
    _write(out / "generation_config.json", generation)
    (out / "laser.yaml").write_text(THINKING_FORMAT, encoding="utf-8")


@torch.no_grad()
def half_agreement(network: Network, encoder: Encoder, *, seed: int, problems: int = 96) -> float:
    """The share of greedy rollout tokens that weights rounded to half precision would also choose."""
    rng = np.random.default_rng([seed, 2])
    prompts = [encoder.prompt(generate(FAMILIES[n % len(FAMILIES)], rng).question) for n in range(problems)]
    rounded = Network(network.shape)
    rounded.load_state_dict({name: tensor.half().float() for name, tensor in network.state_dict().items()})
    agreed = total = 0
    for prompt, rollout in zip(prompts, decode(network, prompts, limit=CAP, stop=encoder.end), strict=True):
        tokens = torch.tensor([[*prompt, *rollout.tokens]])
        length = tokens.shape[1] - 1
        causal = torch.ones(1, length, length, dtype=torch.bool).tril()
        logits = rounded(tokens[:, :-1], torch.arange(length)[None, :], causal)
        same = logits[0, len(prompt) - 1 :].argmax(-1) == tokens[0, len(prompt) :]
        agreed += int(same.sum())
        total += len(same)
    return agreed / total


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
