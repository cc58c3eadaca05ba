"""What a mask leaves is drawn as if nothing else were there, and bits mean what llguidance means by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.constraint import Constraint
from engine.sampling.choosing import ChosenToken, choose
from engine.sampling.drawing import draw
from engine.sampling.masks import SMALL, SPARSE, MaskedRow, MasksAhead
from engine.sampling.readout import LogitsReadout
from engine.sampling.settings import Sampling
from models.token_masks import packed, unpacked
from tests.support.constraints import ConstraintError, InTurn, in_turn

SIZE = 1000
LOGITS = np.random.default_rng(0).normal(0.0, 2.0, SIZE).astype(np.float32)
BEST = int(LOGITS.argmax())


@pytest.mark.parametrize("count", [1, 2, SIZE // SPARSE, SIZE // SPARSE + 1, 700, SIZE])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.5), Sampling(temperature=1.0, top_p=0.8)])
def test_a_mask_is_drawn_under_as_if_the_rest_were_impossible(count: int, sampling: Sampling) -> None:
    allowed = np.zeros(SIZE, bool)
    allowed[np.random.default_rng(count).choice(SIZE, count, replace=False)] = True
    banned = frozenset(range(0, SIZE, 2))
    for position in range(20):
        impossible = frozenset(np.flatnonzero(~allowed).tolist())
        expected = draw(LOGITS, sampling, position, impossible)
        found = choose(LOGITS, BEST, sampling, position, stops=frozenset(), banned=frozenset(), held=MaskedRow(allowed))
        assert found == ChosenToken(expected, False)
        under_ban = choose(LOGITS, BEST, sampling, position, stops=frozenset(), banned=banned, held=MaskedRow(allowed))
        assert under_ban is not None
        if count == 1:
            assert under_ban == found
        else:
            assert under_ban.token not in banned or not (allowed[1::2]).any()
            assert under_ban.averted == (expected in banned and under_ban.token not in banned)


def test_a_mask_of_nothing_and_one_of_impossible_tokens_let_none_follow() -> None:
    impossible = np.full(SIZE, -np.inf, np.float32)
    impossible[3] = 0.0
    for allowed, logits in ((np.zeros(SIZE, bool), LOGITS), (np.arange(SIZE) == 4, impossible)):
        asked: dict[str, Any] = {"stops": frozenset(), "banned": frozenset()}
        for sampling in (Sampling(), Sampling(temperature=1.0)):
            assert choose(logits, 3, sampling, 0, held=MaskedRow(allowed), **asked) is None
        assert LogitsReadout(logits, 3).best_of(allowed) is None


@pytest.mark.parametrize("allowed_at", [5000, 19_000])
def test_weights_that_are_there_are_drawn_from_as_new_ones_are(allowed_at: int) -> None:
    """Under a mask of a large vocabulary, too, and where it leaves next to nothing of the model's own choice."""
    logits = np.random.default_rng(1).normal(0.0, 4.0, 20_000).astype(np.float32)
    logits[allowed_at:] -= 30.0
    allowed = np.arange(logits.size) >= 4000
    best = int(logits.argmax())
    readout = LogitsReadout(logits, best)
    asked: dict[str, Any] = {"stops": frozenset(), "banned": frozenset()}
    for held in map(MaskedRow, (allowed, ~allowed, np.arange(logits.size) >= 15_000)):
        for sampling in (Sampling(temperature=1.0), Sampling(temperature=1.0, top_p=0.9)):
            for at in range(20):
                found = choose(logits, best, sampling, at, held=held, weights=readout.weights, **asked)
                assert found == choose(logits, best, sampling, at, held=held, **asked)


def test_bits_are_those_of_llguidance() -> None:
    bitmasks = pytest.importorskip("llguidance.numpy")
    words = packed({0, 5, 31, 32, 99}, 100)
    assert words.dtype == np.uint32
    assert words.tolist() == [1 | 1 << 5 | 1 << 31, 1, 0, 1 << 3]
    assert np.flatnonzero(unpacked(words, 100)).tolist() == [0, 5, 31, 32, 99]
    assert np.flatnonzero(unpacked(words, 40)).tolist() == [0, 5, 31, 32]  # a vocabulary of fewer
    assert unpacked(words, 500).sum() == 5  # and one of more: what has no bit is not allowed

    logits = np.zeros((1, 100), np.float32)
    bitmasks.apply_token_bitmask_inplace(logits, words.view(np.int32)[None])
    assert np.flatnonzero(np.isfinite(logits[0])).tolist() == [0, 5, 31, 32, 99]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.5), Sampling(temperature=1.0, top_p=0.8)])
def test_rows_under_masks_at_once_are_those_under_each_alone(sampling: Sampling) -> None:
    """Rows without a constraint between them, constraints that fail, and masks of other sizes than the vocabulary's."""
    logits = np.random.default_rng(2).normal(0.0, 2.0, (5, SIZE)).astype(np.float32)
    wide, narrow = (in_turn(seed, size=300, vocabulary=size) for seed, size in ((0, SIZE), (1, SIZE - 40)))
    failing = Failing(sets=wide.sets)
    masks = MasksAhead(SIZE)
    asked: dict[str, Any] = {"stops": frozenset({3, 5}), "banned": frozenset(range(0, SIZE, 2))}
    steps: list[list[Constraint | None]] = [[None, wide, narrow, failing, wide.copy()], [wide] * 5, [narrow] * 5]
    for constraints in [*steps, [None] * 5, [failing] * 5]:
        found = masks.over(constraints, logits)
        for row, constraint, held in zip(logits, constraints, found, strict=True):
            assert (held is None) == (constraint is None or constraint is failing)
            if held is None or constraint is None:
                continue
            allowed = unpacked(constraint.mask(), SIZE)
            best = int(row.argmax())
            at_once = [choose(row, best, sampling, at, held=held, **asked) for at in range(10)]
            assert at_once == [choose(row, best, sampling, at, held=MaskedRow(allowed), **asked) for at in range(10)]
            assert held.allowed.tolist() == allowed.tolist()
    with pytest.raises(ConstraintError):
        masks.of(failing)
    assert MasksAhead(SMALL + 1).over([wide], logits[:1]) == [None], "a thread computes masks of large vocabularies"


class Failing(InTurn):
    def mask(self) -> npt.NDArray[np.uint32]:
        raise ConstraintError("no")


def test_masks_are_asked_for_once_a_step_and_errors_come_where_the_mask_is_taken() -> None:
    class Counting(InTurn):
        asked = 0

        def mask(self) -> npt.NDArray[np.uint32]:
            type(self).asked += 1
            if self.at:
                raise ConstraintError("no")
            return packed(self.allowed, self.vocabulary)

    held, masks = Counting(sets=in_turn(0).sets), MasksAhead(SMALL + 1)
    with masks.beside([held]):
        pass
    assert held.asked == 1
    assert masks.of(held).tolist() == packed(held.allowed, held.vocabulary).tolist()
    assert held.asked == 1
    masks.of(held)
    assert held.asked == 2, "a mask is good for one token"
    held.at = 1
    with masks.beside([held]):
        pass
    with pytest.raises(ConstraintError):
        masks.of(held)
