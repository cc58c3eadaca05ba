"""Tells a prompt's kind of answer from its words, and abstains where it is not sure.

A softmax regression on the set of a prompt's words, word pairs and beginnings: score_k = b_k + Σ_f w_fk / √n, over
the n features of the prompt, those without a weight among them. So a prompt of unknown words scores near the biases,
and is not told. `python -m benchmarks.kinds.train` learns the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from models.errors import LaserError
from models.files.envelope import Envelope, Head
from models.kinds.kind import AnswerKind

KINDS = tuple(AnswerKind)
WORDS = 200  # looked at, at either end of a text
SURE = 0.75  # least probability of a kind that needs no trial answer

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[^\w\s]")


class KindsError(LaserError, ValueError):
    """The weights of the classifier cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindWeights:
    """What the classifier has learnt."""

    biases: tuple[float, ...]  # by kind, in the order of KINDS
    weights: Mapping[str, tuple[float, ...]]  # by feature
    sure: float  # least probability at which a prompt is told to want a short answer

    def __post_init__(self) -> None:
        if len(self.biases) != len(KINDS):
            raise ValueError(f"biases has {len(self.biases)} values, must have {len(KINDS)}")
        for feature, row in self.weights.items():
            if len(row) != len(KINDS):
                raise ValueError(f"weights[{feature!r}] has {len(row)} values, must have {len(KINDS)}")

    def shares(self, text: str) -> dict[AnswerKind, float]:
        """Returns the probability of each kind."""
        found = features(text)
        scores, scale = list(self.biases), 1.0 / math.sqrt(max(1, len(found)))
        for feature in found:
            row = self.weights.get(feature)
            if row is not None:
                scores = [score + scale * weight for score, weight in zip(scores, row, strict=True)]
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        return {kind: power / sum(powers) for kind, power in zip(KINDS, powers, strict=True)}

    def kind(self, text: str) -> AnswerKind | None:
        """Returns the kind of answer that a text wants; None: it is not sure."""
        shares = self.shares(text)
        likeliest = max(KINDS, key=shares.__getitem__)
        return likeliest if shares[likeliest] >= (self.sure if likeliest is AnswerKind.SHORT else SURE) else None


def features(text: str) -> frozenset[str]:
    """Returns the features of a text: words and pairs, how it begins and ends, and how long it is."""
    words = ["0" if word.isdigit() else word.casefold().replace("’", "'") for word in _WORD.findall(text)]
    length = f"#{len(words).bit_length()}"
    if len(words) > 2 * WORDS:
        words = words[:WORDS] + words[-WORDS:]
    pairs = (f"{one} {other}" for one, other in pairwise(words))
    begins = ("^" + " ".join(words[:count]) for count in range(1, 4))
    ends = (" ".join(words[-count:]) + "$" for count in range(1, 3))
    return frozenset((*words, *pairs, *begins, *ends, length))


FILE = Path(__file__).with_name("weights.json")
WEIGHTS = Envelope(
    head=Head(format="laser-kinds", version=1),
    key="kinds",
    into=KindWeights,
    made_by="python -m benchmarks.kinds.train",
    error=KindsError,
)
