"""Fork packing: a trace and its forced exits share one row; each exit sees only the prefix before its fork."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.reasoner.families.draft import Piece
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import CAP

ARBITRARY = 0.2  # share of traces with a fork at an arbitrary token
AT_START = 0.2  # share of traces with a fork before the thought's first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A prompt in tokens, with all that the model is taught to write after it."""

    prompt: tuple[int, ...]
    thought: tuple[Piece, ...]
    reply: str  # from the end of the thought to the end of the turn
    given: str | None  # the head of the reply that a forced exit writes; None: nothing is forked


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


def exit_fork(encoder: Encoder, cut: int, reply: str, *, given: str) -> Fork:
    """The forced exit at `cut` whose target is `reply`, the true one; only the tokens after `given` are learnt."""
    tokens, first = encoder.ids(reply), len(encoder.ids(given))
    return Fork(cut=cut, tokens=tuple(tokens), weights=(0.0,) * first + (1.0,) * (len(tokens) - first))


def cuts(tokens: Sequence[int], prompt: int, encoder: Encoder, rng: np.random.Generator, count: int) -> list[int]:
    """Where forks leave a trace: `count` paragraph ends, and sometimes its start or an arbitrary token."""
    close = tokens.index(encoder.close, prompt) if encoder.close in tokens[prompt:] else len(tokens)
    ends = [place + 1 for place in range(prompt, close) if tokens[place] == encoder.blank_line]
    chosen = {int(place) for place in rng.choice(ends, size=min(count, len(ends)), replace=False)} if ends else set()
    drawn = rng.random()
    if drawn < ARBITRARY and close > prompt:
        chosen.add(int(rng.integers(prompt, close)))
    elif drawn < ARBITRARY + AT_START:
        chosen.add(prompt)
    return sorted(chosen)


def example(encoder: Encoder, asked: Lesson, rng: np.random.Generator, *, forks: int) -> Example:
    """Tokenise a question with its thought, reply and forks; a thought longer than CAP is cut there, without an end."""
    thought = [token for text, _ in asked.thought for token in encoder.ids(text)]
    worth = [weight for text, weight in asked.thought for _ in encoder.ids(text)]
    ends = len(thought) <= CAP
    reply = encoder.ids(asked.reply) if ends else []
    tokens = [*asked.prompt, *thought[:CAP], *reply]
    places = cuts(tokens, len(asked.prompt), encoder, rng, forks) if asked.thought and asked.given is not None else []
    return Example(
        tokens=tuple(tokens),
        weights=(0.0,) * len(asked.prompt) + tuple(worth[:CAP]) + (1.0,) * len(reply),
        forks=tuple(exit_fork(encoder, place, asked.reply, given=asked.given or "") for place in places),
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
