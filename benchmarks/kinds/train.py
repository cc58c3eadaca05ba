"""Learns the classifier of kinds of answers from drawn prompts, and writes models/kinds/weights.json.

A softmax regression with an L2 penalty. Each quarter of the templates is held out whole in turn: what is told of their
prompts is printed, and sets the probability from which a prompt counts as short where no sign tells.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from benchmarks.kinds.prompts import BUNDLED, KnownPrompt, bundled, drawn
from models.kinds.classifier import FILE, KINDS, WEIGHTS, KindWeights, features
from models.kinds.kind import AnswerKind
from models.kinds.reading import KindReader, signed_reading

Array = npt.NDArray[np.float64]
FEWEST = 6  # prompts that have a feature
MOST = 6_000  # features
WRONG = 0.01  # share of prompts of templates never seen that are not short, have no sign, and may be told to be short
FOLDS = 4
KEPT = 0.05  # a feature whose weights are all smaller is left out


def prompts(count: int, seed: int) -> list[KnownPrompt]:
    """Returns `count` prompts of each kind, and as many of the bundled model's questions of the training side."""
    rng = np.random.default_rng(seed)
    found = [prompt for kind in KINDS for prompt in drawn(kind, count, rng)]
    return [*found, *bundled(count, rng)]


def fold(template: str) -> int | None:
    """Returns the part in which a template is held out; None: in none, as the bundled model's questions."""
    return None if template == BUNDLED else hashlib.blake2b(template.encode(), digest_size=1).digest()[0] % FOLDS


def learn(found: Sequence[KnownPrompt], penalty: float) -> KindWeights:
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


def mistakable(weights: KindWeights, unseen: Sequence[KnownPrompt]) -> list[float]:
    """Returns the probabilities of `short` of prompts that want something else and of which no sign tells."""
    others = (prompt for prompt in unseen if prompt.kind is not AnswerKind.SHORT and not signed_reading(prompt.said))
    return [weights.shares(prompt.said.asked)[AnswerKind.SHORT] for prompt in others]


def read_by(weights: KindWeights, found: Sequence[KnownPrompt]) -> list[tuple[KnownPrompt, AnswerKind]]:
    """Returns prompts with what signs and classifier together read."""
    reader = KindReader(weights)
    return [(prompt, reader.read(prompt.said).kind) for prompt in found]


def report(read: Sequence[tuple[KnownPrompt, AnswerKind]]) -> None:
    """Prints what prompts of each kind are read as."""
    click.echo(f"{'kind':12}{'prompts':>8}" + "".join(f"{kind:>12}" for kind in KINDS))
    for kind in KINDS:
        told = Counter(found for prompt, found in read if prompt.kind is kind)
        count = max(1, told.total())
        click.echo(f"{kind:12}{told.total():>8}" + "".join(f"{told[other] / count:>12.2%}" for other in KINDS))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.train", description=__doc__)
    parser.add_argument("-n", "--prompts", type=int, default=4000, help="prompts per kind")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    parser.add_argument("--penalty", type=float, default=6e-5, help="of squared weights")
    parser.add_argument("--out", type=Path, default=FILE, help="the file that is written")
    arguments = parser.parse_args()
    found, penalty = prompts(arguments.prompts, arguments.seed), arguments.penalty
    parts = []
    for number in range(FOLDS):
        unseen = [prompt for prompt in found if fold(prompt.template) == number]
        parts.append((learn([prompt for prompt in found if fold(prompt.template) != number], penalty), unseen))
    shares = sorted((share for weights, unseen in parts for share in mistakable(weights, unseen)), reverse=True)
    least = math.ceil(100 * max(0.5, shares[int(WRONG * len(shares))])) / 100
    click.echo(f"prompts of templates never seen, short from {least} where no sign tells:")
    report([one for weights, unseen in parts for one in read_by(replace(weights, sure=least), unseen)])
    weights = replace(learn(found, penalty), sure=least)
    click.echo(f"\n{len(weights.weights)} features; prompts drawn anew from templates that were learnt:")
    report(read_by(weights, prompts(500, arguments.seed + 1)))
    WEIGHTS.write(arguments.out, weights)
    click.echo(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
