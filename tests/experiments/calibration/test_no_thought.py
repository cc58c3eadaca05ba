"""Answers at once, tabulated: against a plain loop over the questions, and refused where answers are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base import ProbeSpec
from experiments.calibration.grid import grid
from experiments.calibration.looks import CertificateLook, looked
from experiments.calibration.no_thought import DirectAnswers, tabulated_at_once, with_cut_off
from experiments.calibration.profile import Levels
from experiments.calibration.traces import ClosedReply, ThoughtTrace, TraceError
from experiments.evaluation.evaluation import Asked
from models.profile.levers.no_thought_tables import CUT_OFFS, NoThoughtTables
from models.profile.levers.switch import learn_switch
from models.score import Score

SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}))
LANDING, BUDGET, COUNT = 5, 60, 300
UNSEEN = range(40, COUNT)


def records(count: int, seed: int) -> tuple[list[ThoughtTrace], dict[tuple[int, int], ClosedReply]]:
    """Questions whose prompts tell which are right without thought."""
    rng = np.random.default_rng(seed)
    traces, closings = [], {}
    for number in range(count):
        easy = number % 2 == 0
        length = 100
        probe = Asked(
            thought_tokens=40, beyond=3, answer="7", confidence=0.97, joint=0.95, right=bool(rng.random() < 0.9),
            rows=5, log_probs=(-0.03, -0.02),
        )  # fmt: skip
        traces.append(
            ThoughtTrace(
                number=number,
                prompt=(1, 7 if easy else 8, *rng.integers(10, 99, size=4).tolist()),
                thought=(5,) * length,
                right=bool(rng.random() < 0.9),
                tokens=length + 10,
                rows=length + 15,
                probes=(probe,),
            )
        )
        direct = bool(rng.random() < (0.99 if easy else 0.2))
        closings[number, 0] = ClosedReply(number=number, budget=0, right=direct, tokens=LANDING + 4)
        closings[number, BUDGET] = ClosedReply(number=number, budget=BUDGET, right=True, tokens=LANDING + 6)
    return traces, closings


TRACES, CLOSINGS = records(COUNT, 0)
PLAIN = grid(TRACES, CLOSINGS, (0.95,), (BUDGET,), SPEC)
MEMBER = np.array([[number % 3 == d for number in range(COUNT)] for d in range(3)])


def made(cut_offs: tuple[float, ...] = CUT_OFFS) -> NoThoughtTables:
    return tabulated_at_once(
        TRACES, DirectAnswers.of(TRACES, CLOSINGS, LANDING), PLAIN, member=MEMBER, unseen=UNSEEN, epsilon=0.1,
        delta=0.05, cut_offs=cut_offs,
    )  # fmt: skip


def test_the_tables_are_what_a_plain_loop_counts() -> None:
    found = made()
    needless = [not one.right or CLOSINGS[one.number, 0].right for one in TRACES]
    scores = learn_switch([one.prompt for one in TRACES], needless).scores
    for place, cut_off in enumerate(CUT_OFFS):
        for i in range(2):
            for j in range(2):
                harmed = 0
                tokens: list[list[float]] = [[], [], []]
                right: list[list[bool]] = [[], [], []]
                for one, score in zip(TRACES, scores.tolist(), strict=True):
                    direct, at_once = CLOSINGS[one.number, 0], score >= cut_off
                    wrong = bool(PLAIN.harmed[one.number, i, j]) or (one.right and at_once and not direct.right)
                    harmed += wrong and one.number in UNSEEN
                    tokens[one.number % 3].append(
                        direct.tokens - LANDING if at_once else int(PLAIN.tokens[one.number, i, j])
                    )
                    right[one.number % 3].append(direct.right if at_once else bool(PLAIN.right[one.number, i, j]))
                assert found.harmed[1 + place][i][j] == harmed
                for d in range(3):
                    assert found.tokens[place][d][i][j] == pytest.approx(np.mean(tokens[d]))
                    assert found.accuracy[place][d][i][j] == pytest.approx(np.mean(right[d]))
    assert found.skipped == tuple(float((scores >= cut_off).mean()) for cut_off in CUT_OFFS)
    assert found.refused is None
    assert 0.2 < found.skipped[-1] < 0.6  # the even ones
    assert np.mean(np.array(found.tokens)[-1, :, 0, 0]) < np.mean(PLAIN.tokens[:, 0, 0]) * 0.75


def test_laxer_corners_harm_no_fewer_and_what_is_certified_is_nested() -> None:
    found = made()
    harmed, certified = np.array(found.harmed), np.array(found.certified)
    for axis in range(3):
        assert (np.diff(harmed, axis=axis) >= 0).all()
    assert certified[1:].any()
    for s, i, j in np.argwhere(certified):
        assert certified[: s + 1, : i + 1, : j + 1].all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_cut_offs_nest_question_by_question(seed: int, one: float, other: float) -> None:
    scores = np.random.default_rng(seed).random(COUNT)
    direct = DirectAnswers.of(TRACES, CLOSINGS, LANDING)
    strict, lax = (with_cut_off(PLAIN, direct, scores >= cut) for cut in (max(one, other), min(one, other)))
    assert (lax.harmed >= strict.harmed).all()
    assert (strict.harmed >= PLAIN.harmed).all()
    assert (lax.tokens <= PLAIN.tokens).all()


def test_records_without_the_answers_at_once_are_refused() -> None:
    short = {key: closing for key, closing in CLOSINGS.items() if key != (3, 0)}
    with pytest.raises(TraceError, match="lack the answers without thought to 1 of 300 questions"):
        DirectAnswers.of(TRACES, short, LANDING)


def test_a_certificate_of_cut_offs_is_a_look_of_its_own() -> None:
    look = CertificateLook(questions=("a",), budgets=(9,), score=Score.JOINT, levels=Levels())
    other = CertificateLook(questions=("a",), budgets=(9,), score=Score.JOINT, levels=Levels(), cut_offs=CUT_OFFS)
    assert looked(None, look, other) == {look.key: 0.05, other.key: 0.05}
    assert look.key != other.key
