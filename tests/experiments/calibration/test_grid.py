"""Replayed thoughts: where they end at each point, at what price, and that serving them really does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policy import Limits
from engine.base import ProbeSpec
from engine.torch.engine import TorchEngine
from engine.torch.load import load_model
from experiments.calibration.answering import record_closings, record_thoughts
from experiments.calibration.by_class import counts_by_class
from experiments.calibration.grid import Grid, grid
from experiments.calibration.traces import ClosedReply, ThoughtTrace, TraceLog
from experiments.evaluation.evaluation import Asked, evaluate, evaluation_loop
from experiments.evaluation.questions import bundled_questions
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from models.score import Score

SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}))


def asked(at: int, confidence: float, *, right: bool, beyond: int = 3, same: bool | None = None) -> Asked:
    """A probe whose answer of two tokens is told, so 5 rows."""
    log = (float(np.log(confidence)),) * 2
    return Asked(
        thought_tokens=at,
        beyond=beyond,
        answer="7",
        confidence=confidence,
        joint=confidence**2,
        right=right,
        rows=5,
        log_probs=log,
        same=same,
    )


def thought(*probes: Asked, right: bool = True, length: int = 100, answer: int = 10) -> ThoughtTrace:
    return ThoughtTrace(
        number=0,
        prompt=(1,),
        thought=(5,) * length,
        right=right,
        tokens=length + answer,
        rows=length + answer + sum(probe.rows for probe in probes),
        probes=probes,
    )


def replayed(one: ThoughtTrace, *, closings: Mapping[int, bool], thresholds: tuple[float, ...]) -> Grid:
    told = {
        (0, budget): ClosedReply(number=0, budget=budget, right=right, tokens=8) for budget, right in closings.items()
    }
    return grid([one], told, thresholds, tuple(closings), SPEC)


def test_without_limits_it_is_the_full_thought() -> None:
    found = replayed(thought(asked(40, 0.9, right=False)), closings={50: False}, thresholds=(0.8,))
    assert (found.right[0, 0, 0], found.tokens[0, 0, 0], found.steps[0, 0, 0]) == (True, 110, 110)
    assert not found.harmed[0, 0, 0]


def test_the_first_probe_that_is_sure_enough_ends_the_thought() -> None:
    one = thought(asked(20, 0.5, right=False), asked(40, 0.9, right=True), asked(60, 1.0, right=False))
    found = replayed(one, closings={}, thresholds=(0.95, 0.8, 0.4))
    assert found.thresholds == (None, 0.95, 0.8, 0.4)
    assert found.right[0, :, 0].tolist() == [True, False, True, False]
    # thought, tokens beside the probe, its rows, terminator and end; then the earlier probes' rows. With an answer of
    # at most 4 tokens, .5^(1/4) = .84 and .9^(2/4) = .949 < .95, .5^(2/4) < .8: they give up at their 1st or 2nd token
    assert found.tokens[0, :, 0].tolist() == [110, 60 + 3 + 5 + 2 + 3 + 4, 40 + 3 + 5 + 2 + 4, 20 + 3 + 5 + 2]
    assert found.steps[0, :, 0].tolist() == [110, 65, 45, 25]


def test_a_budget_ends_what_no_probe_has_ended_before() -> None:
    one = thought(asked(20, 0.5, right=False), asked(40, 0.9, right=True))
    found = replayed(one, closings={30: False, 42: True, 43: True, 100: True, 101: False}, thresholds=(0.45,))
    assert found.budgets == (None, 101, 100, 43, 42, 30)
    assert found.right[0, 0].tolist() == [True, True, True, True, True, False]  # 101 is never reached
    assert found.tokens[0, 0].tolist() == [110, 110, 108, 51, 50, 38]
    assert (found.tokens[0, 1] == 30).all()
    early = replayed(one, closings={42: True, 43: False}, thresholds=(0.8,))
    assert early.tokens[0, 1].tolist() == [54, 54, 42 + 8 + 4 + 4]  # at 42 the sure probe lacks a step, and is dropped
    assert early.right[0, 1].tolist() == [True, True, True]


def test_harm_is_any_wrong_exit_that_limits_could_lead_to() -> None:
    one = thought(asked(20, 0.9, right=True), asked(40, 0.85, right=False))  # a fixed threshold of .8 never sees it
    found = replayed(one, closings={30: True, 60: False, 80: True}, thresholds=(0.95, 0.8))
    assert found.right[0, 2, 0]
    assert found.harmed[0].tolist() == [
        [False, False, True, True],  # no budget, 80, 60, 30: whoever may use 30 may use 60
        [False, False, True, True],
        [True, True, True, True],
    ]
    wrong = thought(asked(20, 0.9, right=False), right=False)
    assert not replayed(wrong, closings={30: False}, thresholds=(0.8,)).harmed.any()  # there was nothing to lose


def test_harm_only_grows_with_freedom() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        probes = [asked(at, float(rng.uniform(0.2, 1.0)), right=bool(rng.random() < 0.7)) for at in range(10, 90, 16)]
        closings = {budget: bool(rng.random() < 0.7) for budget in (20, 50, 90)}
        harmed = replayed(thought(*probes), closings=closings, thresholds=(0.9, 0.7, 0.5, 0.3)).harmed[0]
        assert (np.diff(harmed.astype(int), axis=0) >= 0).all()
        assert (np.diff(harmed.astype(int), axis=1) >= 0).all()


def test_a_thought_ends_at_its_first_sure_probe_or_by_itself() -> None:
    one = thought(asked(20, 0.5, right=False), asked(40, 0.9, right=True), length=100)
    found = replayed(one, closings={30: True}, thresholds=(0.95, 0.8, 0.4))
    assert found.ends[0].tolist() == [100, 100, 40, 20]  # whatever budgets there are


def test_harm_and_running_thoughts_are_counted_by_class() -> None:
    one = thought(asked(20, 0.5, right=False), asked(40, 0.9, right=True), length=100)
    other = replace(thought(asked(60, 0.9, right=False), length=80), number=1)
    found = grid([one, other], {}, (0.8, 0.4), (), SPEC)
    told = counts_by_class(found, np.array([[True, False], [False, True], [False, False]]))
    assert told.counts == (1, 1, 0)
    assert told.harmed == (((0,), (0,), (1,)), ((0,), (1,), (1,)), ((0,), (0,), (0,)))
    at = [told.ages.index(age) for age in (16, 23, 45, 64, 91)]
    assert [told.alive[0][2][k] for k in at] == [1, 0, 0, 0, 0]  # .4 closes it at 20
    assert [told.alive[0][1][k] for k in at] == [1, 1, 0, 0, 0]
    assert [told.alive[1][1][k] for k in at] == [1, 1, 1, 0, 0]
    assert [told.alive[0][0][k] for k in at] == [1, 1, 1, 1, 1]
    assert [told.alive[1][0][k] for k in at] == [1, 1, 1, 1, 0]


def test_scores_are_compared_as_served() -> None:
    one = thought(asked(40, 0.9, right=False))
    spec = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}), score=Score.JOINT)
    assert grid([one], {}, (0.85,), (), SPEC).right[0, 1, 0] == np.False_
    assert grid([one], {}, (0.85,), (), spec).right[0, 1, 0] == np.True_  # .9² = .81


@pytest.mark.slow
def test_replayed_points_are_what_serving_really_does(tmp_path: Path) -> None:
    """Accuracy and every token, on the bundled model: up to what batches of other sizes change in the last digits."""
    directory = bundled_model()
    model, packed, questions = load_chat_model(directory), load_model(directory), bundled_questions(2, 11)
    budgets = (80, 140)
    loop = evaluation_loop(TorchEngine(packed), model)
    with TraceLog(tmp_path / "log", {}) as log:
        record_thoughts(loop, model, questions, log, max_tokens=640)
        record_closings(loop, model, questions, log, budgets, max_tokens=640)
    spec = ProbeSpec(
        suffix=model.thinking.probe_suffix,
        max_answer_tokens=model.thinking.format.probe.max_answer_tokens,
        answer_stops=model.thinking.probe_stops,
        score=model.thinking.format.probe.score,
    )
    told = grid([log.traces[number] for number in range(len(questions))], log.closings, (0.9, 0.5), budgets, spec)
    for threshold, budget in ((None, 140), (0.9, None), (0.5, 140)):
        served = evaluate(
            evaluation_loop(TorchEngine(packed), model, Limits(threshold=threshold, budget=budget)),
            model,
            questions,
            max_tokens=640,
        )
        point = (slice(None), told.thresholds.index(threshold), told.budgets.index(budget))
        right, tokens = np.array([one.right for one in served]), np.array([one.rows for one in served])
        assert (right != told.right[point]).mean() <= 0.1
        assert tokens.mean() == pytest.approx(told.tokens[point].mean(), rel=0.02)
        assert (tokens == told.tokens[point]).mean() >= 0.9


def test_exits_that_answer_otherwise_are_told_by_corner_even_where_nothing_was_right() -> None:
    one = thought(
        asked(20, 0.5, right=False, same=False), asked(40, 0.9, right=False, same=True), right=False, length=100
    )
    found = grid([one], {}, (0.95, 0.8, 0.4), (), SPEC)
    assert found.differing is not None
    assert found.differing[0, :, 0].tolist() == [False, False, False, True]
    assert not found.harmed.any()
    closing = {(0, 50): ClosedReply(number=0, budget=50, right=False, tokens=8, same=False)}
    closed = grid([one], closing, (0.95,), (50,), SPEC).differing
    assert closed is not None
    assert closed[0].tolist() == [[False, True], [False, True]]


@pytest.mark.parametrize("probe", [True, False])
def test_where_an_answer_was_not_compared_nothing_is_told_of_differing(probe: bool) -> None:
    one = thought(asked(20, 0.9, right=True, same=None if probe else True))
    closing = {(0, 50): ClosedReply(number=0, budget=50, right=True, tokens=8, same=True if probe else None)}
    assert grid([one], closing, (0.8,), (50,), SPEC).differing is None
    unreached = {(0, 500): ClosedReply(number=0, budget=500, right=True, tokens=8)}
    assert grid([thought(asked(20, 0.9, right=True, same=True))], unreached, (0.8,), (500,), SPEC).differing is not None
