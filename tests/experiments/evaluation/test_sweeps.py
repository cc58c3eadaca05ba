"""Thresholds told from records made by hand, and what verification did in them."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.evaluation.breakdown import breakdown
from experiments.evaluation.evaluation import EvaluationRecord
from experiments.evaluation.reliability import calibration
from experiments.evaluation.sweeps import (
    THRESHOLDS,
    ExitPoint,
    default_budgets,
    exit_point,
    replay,
    score_of,
    served,
    threshold_sweep,
)
from models.score import Score
from tests.support.evaluations import asked, recorded


def told(records: list[EvaluationRecord], threshold: float, score: Score = Score.GEOMETRIC_MEAN) -> ExitPoint:
    return exit_point(records, replay(records, threshold, score), np.random.default_rng(0))


def test_a_threshold_exits_at_the_first_confident_probe_and_pays_for_all_probes_up_to_it() -> None:
    one = recorded(
        asked(0.3, right=False, thought_tokens=20), asked(0.8, right=False, thought_tokens=40), asked(0.99, right=True)
    )
    point = told([one], 0.8)
    assert (point.accuracy, point.tokens, point.exits, point.probe_rows) == (0.0, 40 + 3 + 2 * 5 + 2, 1.0, 10.0)
    assert point.saved == pytest.approx(0.45)
    assert point.gross == pytest.approx(1.0 - (40 + 5 + 2) / 100)  # the adopted probe's 5 rows are the reply's own
    assert point.overhead == pytest.approx((3 + 5) / 53)
    assert (point.against.lost, point.against.gained, point.against.points_lost) == (1, 0, 100.0)


def test_a_threshold_that_no_probe_reaches_costs_the_full_thought_and_its_probes() -> None:
    point = told([recorded(asked(0.3, right=False), asked(0.8, right=False))], 0.95)
    assert (point.accuracy, point.tokens, point.exits) == (1.0, 110.0, 0.0)
    assert point.saved == pytest.approx(-0.1)
    assert (point.gross, point.overhead) == (0.0, None)


def test_a_threshold_may_be_put_on_the_joint_probability() -> None:
    one = recorded(asked(0.9, joint=0.5, right=False), asked(0.95, joint=0.9, right=True), right=False)
    assert told([one], 0.9).accuracy == 0.0
    joint = told([one], 0.9, Score.JOINT)
    assert (joint.accuracy, joint.against.gained) == (1.0, 1)
    with pytest.raises(ValueError, match="score is 'minimum', recorded are: geometric_mean, joint"):
        score_of(one.probes[0], Score.MINIMUM)


def test_a_sweep_covers_all_thresholds_pooled_and_by_benchmark() -> None:
    records = [
        recorded(asked(0.9, right=True), benchmark="a"),
        recorded(asked(0.4, right=False), right=False, benchmark="b"),
    ]
    sweep = threshold_sweep(records, Score.GEOMETRIC_MEAN, np.random.default_rng(0))
    assert [one.threshold for one in sweep.all] == list(THRESHOLDS)
    for name, mine in (("a", records[:1]), ("b", records[1:])):
        assert [one.tokens for one in sweep.benchmarks[name]] == [told(mine, at).tokens for at in THRESHOLDS]


def test_default_budgets_are_percentiles_each_once() -> None:
    assert default_budgets([recorded(thought_tokens=n) for n in range(101)]) == (10, 25, 50, 75, 90)
    assert default_budgets([recorded(thought_tokens=40)]) == (40,)


def test_a_served_pass_is_held_against_the_full_thoughts_question_by_question() -> None:
    full = [recorded(), recorded(), recorded(right=False)]
    short = [recorded(tokens=40), recorded(tokens=40, right=False), recorded(tokens=40)]
    found = served(full, short, np.random.default_rng(0), budget=30)
    assert (found.budget, found.accuracy.share, found.tokens) == (30, pytest.approx(2 / 3), 40.0)
    assert (found.against.lost, found.against.gained, found.against.points_lost) == (1, 1, 0.0)
    assert found.saved == pytest.approx(0.6)


def test_verification_counts_only_thoughts_with_a_first_answer() -> None:
    right, wrong = asked(0.9, right=True, thought_tokens=60), asked(0.9, right=False, thought_tokens=30)
    records = [
        recorded(wrong, right, first_answer=0),  # fixed
        recorded(wrong, right, first_answer=1, right=False),  # broken
        recorded(right, first_answer=0),
        recorded(wrong, right, right=False),
    ]
    all_ = breakdown(records).all
    found = all_.verification
    assert (found.counted, found.fixed, found.broken) == (3, 1, 1)
    assert found.first_accuracy is not None
    assert found.final_accuracy is not None
    assert (found.first_accuracy.share, found.final_accuracy.share) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.share == pytest.approx((60 / 90 + 30 / 90 + 30 / 90) / 3)
    points = all_.transitions
    assert (points.per_thought, points.thoughts_with_first_answer) == (7 / 4, 3)
    assert (points.before, points.at_or_after) == (pytest.approx(1 / 3), pytest.approx((2 + 1 + 1) / 3))


def test_splits_run_from_easy_to_hard_and_may_be_absent() -> None:
    records = [recorded(split=split) for split in ("other", "hard", "easy", None)]
    found = breakdown(records)
    assert list(found.splits) == ["easy", "hard", "other"]
    assert found.benchmarks["any"].all.accuracy.count == 4
    assert not breakdown([recorded(split=None)]).splits


def test_thoughts_without_probes_have_no_calibration() -> None:
    assert calibration([recorded()]) is None
    found = calibration([recorded(asked(0.9, joint=0.8, right=True))])
    assert found is not None
    assert found.scores[Score.GEOMETRIC_MEAN].error == pytest.approx(0.1)
    assert found.scores[Score.JOINT].error == pytest.approx(0.2)
    assert found.scores[Score.JOINT].auroc is None
