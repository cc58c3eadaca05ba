"""The first minute on a GPU: the engine's self-test, and ten puzzles answered as the torch engine answers them.

A stage of `benchmarks/gpu.sh`. Half precision may break a tie another way: tokens that differ must be as likely as each
other in float32, but for TIE nats.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.gpu.journal import Journal
from engine.base import Engine, Finished, Request, Tokens
from models.reasoner import bundled_model
from models.reasoner.tasks import FAMILIES, generate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPTS = 10
MOST = 400  # tokens of an answer
TIE = 0.1  # nats


def puzzles(tokenizer: PreTrainedTokenizerBase, seed: int) -> list[tuple[int, ...]]:
    """Returns ten puzzles that the bundled model was not trained on, as prompts of its chat format."""
    rng = np.random.default_rng(seed)
    questions = [generate(FAMILIES[i % len(FAMILIES)], rng, from_held_out=True).question for i in range(PROMPTS)]
    prompts = []
    for question in questions:
        asked = [{"role": "user", "content": question}]
        text: Any = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        prompts.append(tuple(tokenizer.encode(text, add_special_tokens=False)))
    return prompts


def greedy(engine: Engine, prompts: Sequence[tuple[int, ...]], stop: int) -> list[list[int]]:
    """Returns each prompt's greedy continuation, decoded together."""
    found: dict[int, list[int]] = {}
    for prompt in prompts:
        asked = Request(prompt=prompt, max_new_tokens=MOST, stop_tokens=frozenset({stop}))
        found[engine.submit(asked)] = []
    ended = 0
    while ended < len(prompts):
        for event in engine.step():
            if isinstance(event, Tokens):
                found[event.sequence] += event.tokens
            ended += isinstance(event, Finished)
    return list(found.values())


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Returns the first position at which two token lists differ or one of them has ended; None: they are the same."""
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return None if len(one) == len(other) else min(len(one), len(other))


@torch.inference_mode()
def gap(reference: Any, prompt: Sequence[int], said: Sequence[int], one: int, other: int) -> float:
    """Returns by how many nats transformers, in float32, holds one token likelier than another behind a text."""
    logits = reference(torch.tensor([[*prompt, *said]])).logits[0, -1]
    return float((logits[one] - logits[other]).abs())


def compared(
    reference: Any,
    prompts: Sequence[tuple[int, ...]],
    ours: Sequence[list[int]],
    theirs: Sequence[list[int]],
    stop: int,
) -> list[dict[str, Any]]:
    """Returns for each answer its length, where it first differs from the torch engine's, and by how many nats."""
    rows = []
    for prompt, one, other in zip(prompts, ours, theirs, strict=True):
        at = first_difference(one, other)
        nats = None
        if at is not None:
            a, b = ([*tokens, stop][at] for tokens in (one, other))
            nats = gap(reference, prompt, other[:at], a, b)
        rows.append({"tokens": len(one), "differs_at": at, "nats": nats})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    journal = Journal(arguments.out)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.exllama.config import ExLlamaConfig
    from engine.exllama.load import load_exllama
    from engine.torch.engine import TorchEngine
    from engine.torch.load import load_model

    directory = bundled_model()
    start = time.perf_counter()
    config = ExLlamaConfig()
    loaded = load_exllama(directory, config)  # checks causality, pages, rotary embedding and head norms
    journal.add("self_test", {"passed": True, "seconds": time.perf_counter() - start})
    from engine.exllama.engine import ExLlamaEngine

    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompts, stop = puzzles(tokenizer, arguments.seed), int(tokenizer.eos_token_id)
    start = time.perf_counter()
    ours = greedy(ExLlamaEngine(loaded, config), prompts, stop)
    seconds = time.perf_counter() - start
    theirs = greedy(TorchEngine(load_model(directory)), prompts, stop)
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    rows = compared(reference, prompts, ours, theirs, stop)
    journal.add("ten_prompts", {"seconds": seconds, "tokens": sum(map(len, ours)), "answers": rows})
    journal.add("same", sum(row["differs_at"] is None for row in rows))
    apart = [row for row in rows if row["nats"] is not None and row["nats"] > TIE]
    if apart:
        sys.exit(f"{len(apart)} of {PROMPTS} answers leave the torch engine's where it is no tie: {apart}")


if __name__ == "__main__":
    main()
