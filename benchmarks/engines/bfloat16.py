"""Compares the torch engine's forward pass in bfloat16 with float32, in one run: decoding rate and logits.

Both decode the same prompts, in turns step by step; rates are by CPU time of the process, which computes with one
thread. Without instructions for bfloat16 (see `engine/torch/precision.py`) it is several times slower.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.support import report
from benchmarks.support.rivals import BareLoop
from benchmarks.support.workload import Stopwatch, save_model


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatResult:
    """Both formats with `batch` sequences."""

    batch: int
    float32: float  # tokens/s by CPU time, here and below
    bfloat16: float
    divergence: float  # nats: the largest of bfloat16's next token from float32's on the prompts
    same: float  # share of places of the prompts whose likeliest token is the same


def measure(directory: Path, batch: int, *, prompt: int, steps: int, seed: int) -> FormatResult:
    """Decodes the same random prompts of `prompt` tokens in both formats."""
    import torch

    from engine.torch.config import Runner
    from engine.torch.load import load_model
    from engine.torch.packed import prompt_logits
    from engine.torch.precision import divergence, load_bfloat16

    models = (load_model(directory), load_bfloat16(directory, Runner.BARE))
    asked = np.random.default_rng(seed).integers(0, models[0].shape.vocabulary, (batch, prompt)).tolist()
    compared = [divergence(*(prompt_logits(model, torch.tensor(one)) for model in models)) for one in asked]
    loops = [BareLoop(model, asked, steps) for model in models]
    watches = [Stopwatch() for _ in loops]
    for step in range(steps):
        for turn in range(2):
            at = (turn + step) % 2
            with watches[at]:
                loops[at].step()
    rates = [batch * steps / watch.spent.cpu_s for watch in watches]
    return FormatResult(
        batch=batch,
        float32=rates[0],
        bfloat16=rates[1],
        divergence=max(worst for worst, _ in compared),
        same=sum(same for _, same in compared) / (batch * prompt),
    )


def table(results: Sequence[FormatResult], capable: bool) -> str:
    """Formats the results as text."""
    lines = [
        f"This CPU has {'' if capable else 'no '}instructions for bfloat16. Tokens/s by CPU time",
        f"{'B':>3}  {'float32':>8}  {'bfloat16':>8}  {'ratio':>6}  {'divergence, nats':>16}  {'same likeliest':>14}",
    ]
    for one in results:
        lines.append(
            f"{one.batch:>3}  {one.float32:>8.0f}  {one.bfloat16:>8.1f}  {one.bfloat16 / one.float32:>6.3f}  "
            f"{one.divergence:>16.2g}  {one.same:>14.2%}"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines.bfloat16", description=__doc__)
    parser.add_argument("--model", type=Path, help="a model directory instead of the random one")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="sequences at once")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--steps", type=int, default=20, help="decoding steps of each measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()

    import torch

    from engine.torch.precision import computes_bfloat16

    torch.set_num_threads(1)
    ran = report.circumstances("benchmarks.engines.bfloat16", options.seed)
    with tempfile.TemporaryDirectory() as folder:
        directory = options.model or save_model(Path(folder), options.seed)
        results = [
            measure(directory, batch, prompt=options.prompt, steps=options.steps, seed=options.seed)
            for batch in options.batches
        ]
    print(table(results, computes_bfloat16()))
    if options.out is not None:
        report.write(options.out, ran, [asdict(result) for result in results])


if __name__ == "__main__":
    main()
