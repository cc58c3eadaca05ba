"""Chooses the number format of a model's matrices: bfloat16 only where its logits are those of float32."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.base import UnsupportedModelError
from engine.torch.bare_model import BareModel
from engine.torch.config import Dtype, Runner
from engine.torch.load import bare_weights, check_model, load_model
from engine.torch.packed import PackedModel, prompt_logits

CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last is ARM's
CPU_INFO = Path("/proc/cpuinfo")
CHECKED = 24  # tokens of the prompt that both formats must agree on
TOLERANCE = 0.02  # nats: the largest divergence of bfloat16's next token from float32's, at any place of the prompt

SLOW = "this CPU has no instructions for bfloat16, so it is several times slower than float32"


def computes_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Returns whether the CPU has instructions for products in bfloat16, as Linux tells it; elsewhere False."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    said = (line.partition(":") for line in lines)
    return any(CPU_FLAGS & set(flags.split()) for name, _, flags in said if name.strip() in ("flags", "Features"))


def load(directory: Path, runner: Runner, dtype: Dtype, *, capable: bool) -> tuple[PackedModel, Dtype, str]:
    """Returns a model, the format of its matrices, and a note that says what a user should know of it; "": nothing.

    `capable`: the CPU computes bfloat16.

    Raises the errors of `load_model`, and UnsupportedModelError if bfloat16 was named and is not to be had.
    """
    if dtype is Dtype.BFLOAT16:
        return load_bfloat16(directory, runner), dtype, "" if capable else SLOW
    why = ""
    if dtype is Dtype.AUTO:
        why = "this CPU has no instructions for bfloat16"
        if capable:
            try:
                return load_bfloat16(directory, runner), Dtype.BFLOAT16, ""
            except UnsupportedModelError as error:
                why = str(error)
    return load_model(directory, runner), Dtype.FLOAT32, why and f"float32, since {why}"


def load_bfloat16(directory: Path, runner: Runner) -> BareModel:
    """Loads a model whose matrices but the head's are bfloat16.

    Raises UnsupportedModelError, too, if no bare runner runs the model, or if the logits of a prompt are not those of
    float32; for this comparison, float32 holds one layer at a time.
    """
    config, stored, bare = check_model(directory, runner)
    if not bare:
        raise UnsupportedModelError(
            f"{directory}: dtype is {Dtype.BFLOAT16}, which the bare runner alone computes: this model runs on another"
        )
    weights = bare_weights(directory, config, stored)
    tokens = torch.arange(1, CHECKED + 1) % config.vocab_size
    exact = prompt_logits(BareModel(config, weights, held=False), tokens)
    model = BareModel(config, weights, dtype=torch.bfloat16)
    check_agreement(directory, exact, prompt_logits(model, tokens))
    return model


def divergence(exact: torch.Tensor, found: torch.Tensor) -> tuple[float, int]:
    """Returns how logits (T, vocabulary) compare with exact ones.

    The first figure is the largest Kullback-Leibler divergence of a place, nats; the second counts the places whose
    likeliest token is the same.
    """
    wanted, got = exact.log_softmax(-1), found.log_softmax(-1)
    worst = (wanted.exp() * (wanted - got)).sum(-1).max().item()
    return worst, int((wanted.argmax(-1) == got.argmax(-1)).sum())


def check_agreement(directory: Path, exact: torch.Tensor, found: torch.Tensor) -> None:
    """Raises UnsupportedModelError, with the figures, if logits (T, vocabulary) diverge from the exact ones."""
    worst, same = divergence(exact, found)
    if not worst <= TOLERANCE:
        raise UnsupportedModelError(
            f"{directory}: dtype is {Dtype.BFLOAT16}, whose next tokens diverge by {worst:.2g} nats from float32's on "
            f"a prompt of {len(exact)}, at most {TOLERANCE:g} is allowed; the likeliest is the same at {same} places"
        )
