"""bfloat16: where the CPU has it and the logits are float32's; elsewhere it is refused or told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.base import UnsupportedModelError
from engine.registry import engine_options
from engine.torch.config import Dtype, Runner
from engine.torch.packed import prompt_logits
from engine.torch.precision import SLOW, TOLERANCE, check_agreement, computes_bfloat16, load
from models.reasoner import bundled_model
from tests.support.tiny_models import save_model

PROMPT = torch.arange(5, 25)


def test_bfloat16_is_nearly_float32_and_told() -> None:
    exact, *told = load(bundled_model(), Runner.AUTO, Dtype.FLOAT32, capable=False)
    assert told == [Dtype.FLOAT32, ""]
    found, *told = load(bundled_model(), Runner.AUTO, Dtype.BFLOAT16, capable=False)
    assert told == [Dtype.BFLOAT16, SLOW]
    logits = prompt_logits(found, PROMPT)
    assert logits.dtype is torch.float32
    assert not torch.equal(logits, prompt_logits(exact, PROMPT))
    check_agreement(bundled_model(), prompt_logits(exact, PROMPT), logits)


def test_a_prompt_s_logits_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    save_model(tmp_path, "llama")
    with torch.inference_mode():
        wanted = AutoModelForCausalLM.from_pretrained(tmp_path)(PROMPT[None]).logits[0]
    model, *_ = load(tmp_path, Runner.BARE, Dtype.FLOAT32, capable=True)
    torch.testing.assert_close(prompt_logits(model, PROMPT), wanted, rtol=1e-4, atol=1e-4)


def test_auto_takes_bfloat16_where_the_cpu_computes_it() -> None:
    assert load(bundled_model(), Runner.AUTO, Dtype.AUTO, capable=True)[1:] == (Dtype.BFLOAT16, "")
    dtype, note = load(bundled_model(), Runner.AUTO, Dtype.AUTO, capable=False)[1:]
    assert (dtype, note) == (Dtype.FLOAT32, "float32, since this CPU has no instructions for bfloat16")


def test_a_runner_without_bfloat16_is_refused_by_name(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    with pytest.raises(UnsupportedModelError, match="dtype is bfloat16, which the bare runner alone computes"):
        load(tmp_path, Runner.TRANSFORMERS, Dtype.BFLOAT16, capable=True)
    dtype, note = load(tmp_path, Runner.TRANSFORMERS, Dtype.AUTO, capable=True)[1:]
    assert dtype is Dtype.FLOAT32
    assert note.startswith("float32, since ")


def test_logits_that_diverge_are_refused_with_the_figures() -> None:
    exact = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.5]])
    check_agreement(Path("m"), exact, exact + 3.0)  # softmax knows no shift
    told = (
        rf"m: dtype is bfloat16, whose next tokens diverge by 0\.\d+ nats .*, at most {TOLERANCE:g} is .* at 1 places"
    )
    with pytest.raises(UnsupportedModelError, match=told):
        check_agreement(Path("m"), exact, torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.4, 0.5]]))
    with pytest.raises(UnsupportedModelError, match="diverge by nan"):
        check_agreement(Path("m"), exact, torch.full((2, 3), torch.nan))


@pytest.mark.parametrize(
    ("said", "capable"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: avx512_bf16 fpu\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("model name\t: bf16\n", False),
        ("", False),
    ],
)
def test_the_kernel_says_what_the_cpu_computes(tmp_path: Path, said: str, capable: bool) -> None:
    (tmp_path / "cpuinfo").write_text(said)
    assert computes_bfloat16(tmp_path / "cpuinfo") is capable
    assert not computes_bfloat16(tmp_path / "none")


def test_an_engine_in_bfloat16_says_so_and_promises_less() -> None:
    opened = engine_options("torch", {"dtype": Dtype.BFLOAT16, "cells": 512}).open(bundled_model())
    assert opened.arithmetic == "bfloat16, float32 beside the layers' matrices"
    assert not opened.engine.capabilities.batch_invariant
