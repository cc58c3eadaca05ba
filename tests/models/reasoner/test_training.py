"""The reasoner's trainer: killed and resumed, exported, loaded by transformers; and the weights that are shipped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.reasoner import bundled_model
from models.reasoner.muon import orthogonalise
from models.reasoner.network import Network, Shape
from models.reasoner.rollout import decode
from models.reasoner.tasks import FAMILIES, generate, grade
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import EXIT
from models.reasoner.training import CHECKPOINT, REFINEMENT, Progress, TrainingConfig, learning_rate, train
from models.thinking import read_format

pytestmark = pytest.mark.slow

TINY = TrainingConfig(
    seed=7,
    rows=1,
    length=768,
    block=2,
    blocks=2,
    calibration_blocks=1,
    rollouts=1,
    warmup=2,
    checkpoint_every=1,
    threads=1,
    bfloat16=False,
    compile=False,
    shape=Shape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, mlp=48),
)

KILLED_RUN = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.models.reasoner.test_training import TINY
from models.reasoner.training import train
def die(progress):
    if progress.step == 4:  # in the middle of a block, after the checkpoint of the first
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[2], TINY, die)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Progress]]:
    """An uninterrupted tiny run and the progress that it reported."""
    seen: list[Progress] = []
    return train(tmp_path_factory.mktemp("finished"), TINY, seen.append), seen


def test_a_killed_and_resumed_run_ends_in_the_weights_of_an_uninterrupted_one(
    finished: tuple[Path, list[Progress]], tmp_path: Path
) -> None:
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, root, str(tmp_path)], cwd=root, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / CHECKPOINT).is_file()
    resumed: list[Progress] = []
    train(tmp_path, TINY, resumed.append)
    assert [progress.step for progress in resumed] == [3, 4, 5, 6]
    assert [progress.loss for progress in resumed] == [progress.loss for progress in finished[1]][2:]
    assert (tmp_path / "model.safetensors").read_bytes() == (finished[0] / "model.safetensors").read_bytes()
    assert not (tmp_path / CHECKPOINT).exists()


def test_progress_counts_every_step_of_both_stages(finished: tuple[Path, list[Progress]]) -> None:
    assert [progress.step for progress in finished[1]] == list(range(1, TINY.steps + 1))
    assert [progress.stage for progress in finished[1]] == ["traces"] * 4 + ["calibration"] * 2
    assert all(progress.slot_rate > 0 for progress in finished[1])


def test_training_on_starts_from_the_weights_and_the_tokenizer_of_a_finished_model(
    finished: tuple[Path, list[Progress]], tmp_path: Path
) -> None:
    seen: list[Progress] = []
    config = replace(TINY, seed=8, blocks=1, level=0.0, curriculum_blocks=0)
    train(tmp_path, config, seen.append, start=finished[0])
    assert seen[0].loss < finished[1][0].loss - 0.1  # what was learnt before is still there
    assert (tmp_path / "tokenizer.json").read_bytes() == (finished[0] / "tokenizer.json").read_bytes()


def test_a_model_that_is_missing_or_has_another_shape_cannot_be_trained_on(
    finished: tuple[Path, list[Progress]], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model to start from: .*nowhere"):
        train(tmp_path / "out", TINY, start=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds a model of another shape"):
        train(tmp_path / "out", replace(TINY, shape=Shape(hidden=64)), start=finished[0])
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, TINY, stop)
    with pytest.raises(ValueError, match="was written with seed = 7"):
        train(tmp_path, replace(TINY, seed=8))


def test_transformers_computes_what_the_trainer_computes(finished: tuple[Path, list[Progress]]) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = Network(TINY.shape)
    network.load_state_dict(
        {name: weight.float() for name, weight in load_file(finished[0] / "model.safetensors").items()}
    )
    model = AutoModelForCausalLM.from_pretrained(finished[0])
    assert type(model).__name__ == "Qwen3ForCausalLM"
    encoder = Encoder(AutoTokenizer.from_pretrained(finished[0]))
    ids = torch.tensor([encoder.prompt("What is the largest number in the list 3, 99, 12, 40?")])
    length = ids.shape[1]
    causal = torch.ones(1, length, length, dtype=torch.bool).tril()
    with torch.inference_mode():
        ours = network(ids, torch.arange(length)[None], causal)
        torch.testing.assert_close(ours, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_the_exported_thinking_format_probes_with_the_natural_ending(finished: tuple[Path, list[Progress]]) -> None:
    form = read_format(finished[0])
    assert form.probe.suffix == EXIT
    assert form.landing == EXIT  # what a forced exit was trained on


def test_decoding_in_a_batch_equals_decoding_alone() -> None:
    network = Network(TINY.shape)
    network.initialise(torch.Generator().manual_seed(1))
    prompts = [[9, 8, 7], [5, 6, 7, 8, 9, 10, 11], [40]]
    together = decode(network, prompts, limit=12, stop=2)
    for prompt, rollout in zip(prompts, together, strict=True):
        alone = decode(network, [prompt], limit=12, stop=2)[0]
        assert rollout.tokens == alone.tokens
        assert rollout.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("config", [TrainingConfig(), REFINEMENT])
def test_the_learning_rate_ends_each_stage_near_zero_and_never_jumps_within_one(config: TrainingConfig) -> None:
    first = config.blocks * config.block
    rates = [learning_rate(step, config) for step in range(config.steps)]
    assert max(rates) == pytest.approx(config.peak, rel=0.1)
    assert rates[first] == config.calibration_lr
    for stage in (rates[:first], rates[first:]):
        assert 0 < stage[-1] < 0.01
        assert all(abs(a - b) < 0.02 for a, b in pairwise(stage))


def test_orthogonalised_updates_have_singular_values_near_one() -> None:
    stack = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(stack))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.4


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(bundled_model()), AutoTokenizer.from_pretrained(bundled_model())


def test_the_shipped_weights_answer_most_fresh_problems(shipped: tuple[Any, Any]) -> None:
    model, tokenizer = shipped
    rng = np.random.default_rng(20)
    problems = [generate(family, rng, from_held_out=True) for family in FAMILIES for _ in range(8)]
    encoder = Encoder(tokenizer)
    prompts = [encoder.prompt(problem.question) for problem in problems]
    longest = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(one)) + list(one) for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    with torch.inference_mode():
        written = model.generate(ids, attention_mask=mask, max_new_tokens=1024)[:, longest:]
    assert sum(tokenizer.eos_token_id in reply for reply in written.tolist()) >= 30  # some look again without end
    right = dict.fromkeys(FAMILIES, 0)
    for problem, reply in zip(problems, written.tolist(), strict=True):
        if tokenizer.eos_token_id in reply:
            right[problem.family] += grade(tokenizer.decode(reply[: reply.index(tokenizer.eos_token_id) + 1]), problem)
    assert right.pop("countdown") >= 3  # some searches are given up, and their answers guessed
    assert min(right.values()) >= 5, right


def test_the_shipped_weights_are_small_and_answer_in_form_after_an_empty_thought(shipped: tuple[Any, Any]) -> None:
    model, tokenizer = shipped
    assert (bundled_model() / "model.safetensors").stat().st_size < 10_000_000
    encoder = Encoder(tokenizer)
    ids = torch.tensor([encoder.prompt("What is the largest number in the list 3, 99, 12, 40?", thinking=False)])
    with torch.inference_mode():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16)[0, ids.shape[1] :]
    assert re.fullmatch(r"\*\*Final Answer\*\*\n\\boxed\{\d+\}<\|im_end\|>", tokenizer.decode(written))
