"""Times the sampler, masks and log probabilities of a row, and what masks cost the bundled model's decoding.

The rows are random logits over a vocabulary of 151,936, which a plain sampler in float64 draws from in the same run;
contestants take turns row by row. The bundled model decodes the same prompts in two engines, in turns step by step: one
without constraints, one under a grammar that allows almost anything. All times are CPU times of the process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.support import report
from benchmarks.support.grammars import made_tokenizer, matched
from benchmarks.support.plain_sampler import plain_draw
from engine.base import Request
from engine.sampling.choosing import choose
from engine.sampling.drawing import draw
from engine.sampling.masks import MaskedRow
from engine.sampling.readout import LogitsReadout
from engine.sampling.settings import Sampling
from models.token_masks import unpacked

VOCABULARY = 151_936
LIKELIEST = 5  # tokens told beside each sampled one
ROW_MS = 1.0  # most time of a row: sampler, mask and log probabilities together
OF_DECODING = 1.05  # most time of decoding under masks over decoding without
ANYTHING = r"(.|\n)*"

SAMPLINGS = {
    "greedy": Sampling(),
    "T 1": Sampling(temperature=1.0),
    "T 0.6, top-p 0.95": Sampling(temperature=0.6, top_p=0.95),
    "T 0.6, top-p 0.95, top-k 20": Sampling(temperature=0.6, top_p=0.95, top_k=20),
    "T 1, min-p 0.05": Sampling(temperature=1.0, min_p=0.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTimes:
    """Milliseconds of one row; medians."""

    sampling: str
    spread: float  # standard deviation of the random logits
    plain: float | None  # the plain sampler alone; None: it has no min-p
    sampler: float
    with_log_probs: float
    under_mask: float  # with log probabilities, under a mask that is there
    same: bool  # whether sampler and plain sampler drew the same tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCost:
    """What masks cost the bundled model with `batch` sequences."""

    batch: int
    free_ms: float  # a step without constraints
    held_over_free: float


def row_times(name: str, sampling: Sampling, spread: float, *, rows: int, seed: int) -> RowTimes:
    """Times `rows` draws of each contestant, in turns."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, spread, (4, VOCABULARY)).astype(np.float32)
    best = logits.argmax(axis=1).tolist()
    words = rng.integers(0, 2**32, VOCABULARY // 32, dtype=np.uint32)
    asked: dict[str, Any] = {"stops": frozenset(), "banned": frozenset()}

    def told(at: int, allowed: npt.NDArray[np.bool_] | None = None) -> int:
        row = at % len(logits)
        readout = LogitsReadout(logits[row], best[row])
        weights, held = readout.weights, None if allowed is None else MaskedRow(allowed)
        choice = choose(logits[row], best[row], sampling, at, held=held, weights=weights, **asked)
        assert choice is not None
        readout.told(choice.token, LIKELIEST)
        return choice.token

    contestants: list[Callable[[int], int]] = [
        lambda at: draw(logits[at % 4], sampling, at),
        told,
        lambda at: told(at, unpacked(words, VOCABULARY)),
    ]
    if not sampling.min_p:
        contestants.append(lambda at: plain_draw(logits[at % 4], sampling, at))
    spent: list[list[float]] = [[] for _ in contestants]
    drawn: list[list[int]] = [[] for _ in contestants]
    for at in range(rows):
        for turn in range(len(contestants)):
            one = (turn + at) % len(contestants)
            began = time.process_time()
            drawn[one].append(contestants[one](at))
            spent[one].append((time.process_time() - began) * 1e3)
    medians = [statistics.median(one) for one in spent]
    return RowTimes(
        sampling=name,
        spread=spread,
        plain=medians[3] if len(medians) > 3 else None,
        sampler=medians[0],
        with_log_probs=medians[1],
        under_mask=medians[2],
        same=drawn[0] == drawn[-1] or bool(sampling.min_p),
    )


def grammar_ms(rows: int, seed: int) -> float:
    """Returns the milliseconds of a mask and of accepting a token in llguidance, over the made vocabulary."""
    tokenizer = made_tokenizer(VOCABULARY, seed)
    held = matched(tokenizer, r'\{"[a-z ]*": \[[0-9, ]*\]\}|[a-z0-9 ]*')
    spent = []
    rng = np.random.default_rng(seed)
    for _ in range(rows):
        began = time.process_time()
        allowed = held.mask()
        spent.append(time.process_time() - began)
        token = int(rng.choice(np.flatnonzero(unpacked(allowed, VOCABULARY - 1))))
        began = time.process_time()
        held.accept(token)
        spent[-1] += time.process_time() - began
    return statistics.median(spent) * 1e3


def mask_cost(batch: int, sampling: Sampling, *, steps: int, seed: int) -> MaskCost:
    """Decodes the same prompts with and without constraints."""
    from llguidance import LLTokenizer

    from engine.torch.engine import TorchEngine, TorchEngineConfig
    from engine.torch.load import load_model
    from models.reasoner import bundled_model

    model = load_model(bundled_model())
    tokenizer = LLTokenizer(str(bundled_model() / "tokenizer.json"), n_vocab=model.shape.vocabulary)
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(0, model.shape.vocabulary, 64).tolist()) for _ in range(batch)]
    engines = []
    for held in (False, True):
        engine = TorchEngine(model, TorchEngineConfig(cells=batch * (64 + steps + 20), max_batch=batch))
        for at, prompt in enumerate(prompts):
            constraint = matched(tokenizer, ANYTHING) if held else None
            asked = replace(sampling, seed=at)
            engine.submit(Request(prompt=prompt, max_new_tokens=steps + 16, sampling=asked, constraint=constraint))
        while engine.load().waiting:
            engine.step()
        for _ in range(8):
            engine.step()
        engines.append(engine)
    ratios, free = [], []
    for step in range(steps):
        spent = [0.0, 0.0]
        for turn in range(2):
            one = (turn + step) % 2
            began = time.process_time()
            engines[one].step()
            spent[one] = time.process_time() - began
        free.append(spent[0])
        ratios.append(spent[1] / spent[0])
    return MaskCost(batch=batch, free_ms=statistics.median(free) * 1e3, held_over_free=statistics.median(ratios))


def table(rows: Sequence[RowTimes], grammar: float, costs: Sequence[MaskCost]) -> str:
    """Formats the results as text, each beside its target."""
    lines = [
        f"A row over {VOCABULARY:,} tokens, ms; the last column at most {ROW_MS:g}",
        f"{'sampling':<28} {'spread':>6}  {'plain':>6}  {'ours':>6}  {'+ log p':>7}  {'+ mask':>6}  same tokens",
    ]
    for one in rows:
        plain = "" if one.plain is None else f"{one.plain:.2f}"
        lines.append(
            f"{one.sampling:<28} {one.spread:>6}  {plain:>6}  {one.sampler:>6.2f}  {one.with_log_probs:>7.2f}  "
            f"{one.under_mask:>6.2f}  {'yes' if one.same else 'NO'}"
        )
    lines += [f"llguidance's mask and token, which a thread computes beside the model: {grammar:.3f} ms", ""]
    lines += [f"The bundled model under masks, at most {OF_DECODING:g}", f"{'B':>3}  {'step, ms':>8}  masks/none"]
    lines += [f"{one.batch:>3}  {one.free_ms:>8.2f}  {one.held_over_free:>10.3f}" for one in costs]
    return "\n".join(lines)


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines.sampling", description=__doc__)
    parser.add_argument("--rows", type=int, default=60, help="draws of each measurement")
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.6, 2.0, 4.0], help="of the random logits")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help="sequences at once")
    parser.add_argument("--steps", type=int, default=100, help="decoding steps of each measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    ran = report.circumstances("benchmarks.engines.sampling", options.seed)
    rows = [
        row_times(name, sampling, spread, rows=options.rows, seed=options.seed)
        for name, sampling in SAMPLINGS.items()
        for spread in options.spreads
    ]
    grammar = grammar_ms(options.rows, options.seed)
    warm = Sampling(temperature=0.6, top_p=0.95)
    costs = [mask_cost(batch, warm, steps=options.steps, seed=options.seed) for batch in options.batches]
    print(table(rows, grammar, costs))
    if options.out is not None:
        found = {"rows": [asdict(one) for one in rows], "grammar_ms": grammar, "masks": [asdict(one) for one in costs]}
        report.write(options.out, ran, found)


if __name__ == "__main__":
    main()
