"""Learns the classifier of kinds of answers from drawn prompts, and writes models/kinds/weights.json.

A softmax regression with an L2 penalty. A quarter of the templates is held out whole: what is told of their prompts is
printed, and sets the probability from which a prompt counts as short.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from benchmarks.kinds.prompts import BUNDLED, Prompt, bundled, drawn
from models.kinds.classifier import FILE, KINDS, WEIGHTS, KindWeights, features
from models.kinds.kind import AnswerKind

Array = npt.NDArray[np.float64]
FEWEST = 6  # prompts that have a feature
MOST = 6_000  # features
WRONG = 0.005  # share of held-out prompts that are not short and may be told to be
KEPT = 0.05  # a feature whose weights are all smaller is left out


def prompts(count: int, seed: int) -> list[Prompt]:
    """Returns `count` prompts of each kind, and as many of the bundled model's questions of the training side."""
    rng = np.random.default_rng(seed)
    found = [prompt for kind in KINDS for prompt in drawn(kind, count, rng)]
    return [*found, *bundled(count, rng)]


def held_out(template: str) -> bool:
    """Whether prompts of a template are kept from training where figures are wanted: a quarter of them."""
    return template != BUNDLED and hashlib.blake2b(template.encode(), digest_size=1).digest()[0] % 4 == 0


def learn(found: Sequence[Prompt], penalty: float) -> KindWeights:
    """Returns the weights that fit the prompts. `penalty`: of the mean squared weight."""
    seen = [features(prompt.said.asked) for prompt in found]
    counts = Counter(feature for one in seen for feature in one)
    names = [feature for feature, count in counts.most_common(MOST) if count >= FEWEST]
    place = {feature: number for number, feature in enumerate(names)}
    entries = [
        (row, place[feature], 1.0 / math.sqrt(len(one)))
        for row, one in enumerate(seen)
        for feature in one
        if feature in place
    ]
    rows, columns, values = zip(*entries, strict=True)
    x = csr_matrix((values, (rows, columns)), shape=(len(seen), len(names)))
    y = np.eye(len(KINDS))[[KINDS.index(prompt.kind) for prompt in found]]

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(len(names) + 1, len(KINDS))
        scores = x @ weights[:-1] + weights[-1]
        scores -= scores.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(scores).sum(axis=1, keepdims=True))
        wrong = (np.exp(scores - log_total) - y) / len(y)
        slope = np.vstack([x.T @ wrong, wrong.sum(axis=0)])
        slope[:-1] += penalty * weights[:-1]
        value = -float(((scores - log_total) * y).sum()) / len(y) + 0.5 * penalty * float(np.square(weights[:-1]).sum())
        return value, slope.ravel()

    start = np.zeros((len(names) + 1) * len(KINDS))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x.reshape(-1, len(KINDS))
    kept = {name: row for name, row in zip(names, best[:-1], strict=True) if np.abs(row).max() >= KEPT}
    return KindWeights(
        biases=_rounded(best[-1]), weights={name: _rounded(row) for name, row in sorted(kept.items())}, sure=1.0
    )


def _rounded(row: Array) -> tuple[float, ...]:
    return tuple(round(float(weight), 2) for weight in row)


def sure(weights: KindWeights, unseen: Sequence[Prompt]) -> float:
    """Returns the least probability of `short` that at most WRONG of the prompts that are not short reach."""
    others = sorted(weights.shares(prompt.said.asked)[AnswerKind.SHORT] for prompt in unseen
                    if prompt.kind is not AnswerKind.SHORT)  # fmt: skip
    least = others[math.ceil(len(others) * (1.0 - WRONG)) - 1] if others else 1.0
    return min(0.99, math.ceil(100 * max(0.5, least)) / 100)


def report(weights: KindWeights, found: Sequence[Prompt]) -> None:
    """Prints what prompts of each kind are told to be."""
    click.echo(f"{'kind':12}{'prompts':>8}" + "".join(f"{kind:>12}" for kind in KINDS) + f"{'unsure':>12}")
    for kind in KINDS:
        told = Counter(weights.kind(prompt.said.asked) for prompt in found if prompt.kind is kind)
        count = max(1, told.total())
        shares = "".join(f"{told[other] / count:>12.1%}" for other in (*KINDS, None))
        click.echo(f"{kind:12}{told.total():>8}{shares}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.train", description=__doc__)
    parser.add_argument("-n", "--prompts", type=int, default=4000, help="prompts per kind")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    parser.add_argument("--penalty", type=float, default=2e-5, help="of squared weights")
    parser.add_argument("--out", type=Path, default=FILE, help="the file that is written")
    arguments = parser.parse_args()
    found = prompts(arguments.prompts, arguments.seed)
    unseen = [prompt for prompt in found if held_out(prompt.template)]
    trial = learn([prompt for prompt in found if not held_out(prompt.template)], arguments.penalty)
    least = sure(trial, unseen)
    click.echo(f"templates never seen, short from {least}:")
    report(_with(trial, least), unseen)
    weights = _with(learn(found, arguments.penalty), least)
    click.echo(f"\n{len(weights.weights)} features; prompts drawn anew from templates that were learnt:")
    report(weights, prompts(500, arguments.seed + 1))
    WEIGHTS.write(arguments.out, weights)
    click.echo(f"written to {arguments.out}")


def _with(weights: KindWeights, least: float) -> KindWeights:
    return KindWeights(biases=weights.biases, weights=weights.weights, sure=least)


if __name__ == "__main__":
    main()
