"""Fork packing: a trace and its forced exits share one row; each exit sees only the prefix before its fork."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.reasoner.tasks import Problem
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import DIRECT, END, EXIT, Part, WrittenThought, closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A forced exit that leaves the trace before token `cut`; targets with weight 0 are not learnt."""

    cut: int
    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One trace: `tokens` with the weight of predicting each of them, and the exits that branch off."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    forks: tuple[Fork, ...]

    @property
    def slots(self) -> int:
        """Row slots that the example takes; the last token of each branch is only a target, so it takes none."""
        return len(self.tokens) - 1 + sum(len(fork.tokens) - 1 for fork in self.forks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Packed rows, every array [rows, length]; `trace` 0 is padding, `branch` 0 the trace itself."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    positions: NDArray[np.int64]
    trace: NDArray[np.int64]
    branch: NDArray[np.int64]
    cut: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> "Rows":
        """The rows at `index`."""
        return Rows(**{name: getattr(self, name)[index] for name in self.__slots__})

    def __len__(self) -> int:
        return len(self.tokens)


def exit_fork(encoder: Encoder, cut: int, answer: str) -> Fork:
    """The forced exit at `cut` whose target is the true answer; only the tokens after the brace are learnt."""
    tokens = encoder.ids(closing(answer))
    given = len(encoder.ids(EXIT))
    return Fork(cut=cut, tokens=tuple(tokens), weights=(0.0,) * given + (1.0,) * (len(tokens) - given))


def cuts(
    tokens: Sequence[int],
    prompt: int,
    encoder: Encoder,
    rng: np.random.Generator,
    count: int,
    mistaken: Collection[int] = (),
) -> list[int]:
    """Where forks leave a trace: `count` paragraph ends, and in a quarter of the traces one arbitrary token.

    In a trace with an invented slip, forks leave only at paragraph ends where no slip stands (not in `mistaken`): the
    network must learn from its own traces how often slips happen, and so how sure an answer may be.
    """
    close = tokens.index(encoder.close, prompt) if encoder.close in tokens[prompt:] else len(tokens)
    ends = [place + 1 for place in range(prompt, close) if tokens[place] == encoder.blank_line]
    ends = [place for paragraph, place in enumerate(ends) if paragraph not in mistaken]
    chosen = {int(place) for place in rng.choice(ends, size=min(count, len(ends)), replace=False)} if ends else set()
    if rng.random() < 0.25 and close > prompt and not mistaken:
        chosen.add(int(rng.integers(prompt, close)))
    return sorted(chosen)


def example(
    encoder: Encoder,
    problem: Problem,
    trace: WrittenThought,
    rng: np.random.Generator,
    *,
    forks: int,
    direct: bool = False,
    verdict_weight: float = 1.0,
) -> Example:
    """Tokenise a trace with its forks; `direct` teaches the answer after an empty thought instead."""
    weight = {Part.PLAIN: 1.0, Part.SLIP: 0.0, Part.VERDICT: verdict_weight}
    prompt = encoder.prompt(problem.question, thinking=not direct)
    pieces = [(f"{DIRECT}{problem.answer}}}{END}", Part.PLAIN)] if direct else trace.pieces
    encoded = [(encoder.ids(text), weight[part]) for text, part in pieces]
    tokens = prompt + [token for ids, _ in encoded for token in ids]
    places = [] if direct else cuts(tokens, len(prompt), encoder, rng, forks, trace.mistaken)
    return Example(
        tokens=tuple(tokens),
        weights=(0.0,) * len(prompt) + tuple(worth for ids, worth in encoded for _ in ids),
        forks=tuple(exit_fork(encoder, place, problem.answer) for place in places),
    )


def pack(examples: Sequence[Example], *, rows: int, length: int, pad: int) -> Rows:
    """Best-fit-decreasing packing into `rows` rows of `length`; examples that fit in no row are left out."""
    free = [length] * rows
    filled: list[list[Example]] = [[] for _ in range(rows)]
    for item in sorted(examples, key=lambda item: -item.slots):
        place = min((row for row in range(rows) if free[row] >= item.slots), key=free.__getitem__, default=None)
        if place is not None:
            free[place] -= item.slots
            filled[place].append(item)
    size = (rows, length)
    packed = Rows(
        tokens=np.full(size, pad, dtype=np.int64),
        targets=np.full(size, pad, dtype=np.int64),
        weights=np.zeros(size, dtype=np.float32),
        positions=np.zeros(size, dtype=np.int64),
        trace=np.zeros(size, dtype=np.int64),
        branch=np.zeros(size, dtype=np.int64),
        cut=np.zeros(size, dtype=np.int64),
    )
    for row, items in enumerate(filled):
        start = 0
        for number, item in enumerate(items, 1):
            branches = [(0, item.tokens, item.weights), *((fork.cut, fork.tokens, fork.weights) for fork in item.forks)]
            for branch, (cut, tokens, weights) in enumerate(branches):
                stop = start + len(tokens) - 1
                packed.tokens[row, start:stop] = tokens[:-1]
                packed.targets[row, start:stop] = tokens[1:]
                packed.weights[row, start:stop] = weights[1:]
                packed.positions[row, start:stop] = np.arange(cut, cut + len(tokens) - 1)
                packed.trace[row, start:stop] = number
                packed.branch[row, start:stop] = branch
                packed.cut[row, start:stop] = cut
                start = stop
    return packed


def visible(trace: Any, branch: Any, positions: Any, cut: Any) -> Any:
    """The attention mask, bool [rows, length, length], for arrays or tensors [rows, length].

    A token sees its own branch up to itself, and the trace before the token at which its branch leaves it.
    """
    query, key = (..., slice(None), None), (..., None, slice(None))
    same_trace = trace[query] == trace[key]
    own_branch = (branch[query] == branch[key]) & (positions[key] <= positions[query])
    prefix = (branch[key] == 0) & (positions[key] < cut[query])
    return same_trace & (own_branch | prefix)
