"""Giving up, replayed: where thoughts are closed, with which answer and at what cost, and what may go wrong at most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base import ProbeSpec
from experiments.calibration.giving_up import FEWEST_FITTED, class_medians, tabulated
from experiments.calibration.grid import grid
from experiments.calibration.looks import CertificateLook, looked
from experiments.calibration.profile import Levels
from experiments.calibration.replayed_probe import may_be_given_up, replayed_probes
from experiments.calibration.traces import ThoughtTrace
from experiments.evaluation.evaluation import Asked, EvaluationRecord
from experiments.evaluation.questions import bundled_questions
from experiments.evaluation.sweeps import replay, score_of
from models.profile.give_up import LADDER, GiveUpCurve, GiveUpLimit
from models.score import Score
from tests.support.analysis_profile import made_profile

QUESTION = bundled_questions(1, 0)[0]
SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}))
LIMIT = GiveUpLimit(curve=GiveUpCurve(height=0.5, rise=0.1), median=60.0)  # 0 to 20 tokens, .43 at 32, .5 at 80


def asked(at: int, confidence: float, *, right: bool) -> Asked:
    """A probe whose answer of two tokens is told, so 5 rows; the thought decodes 3 tokens beside it."""
    log = (float(np.log(confidence)),) * 2
    return Asked(
        thought_tokens=at, beyond=3, answer="7", confidence=confidence, joint=confidence**2, right=right, rows=5,
        log_probs=log,
    )  # fmt: skip


def thought(*probes: Asked, right: bool = True, number: int = 0, length: int = 200) -> ThoughtTrace:
    return ThoughtTrace(
        number=number,
        prompt=(1, number % 90),
        thought=(5,) * length,
        right=right,
        tokens=length + 10,
        rows=length + 10 + sum(probe.rows for probe in probes),
        probes=probes,
    )


def test_a_thought_below_the_curve_ends_there_with_its_surest_trial() -> None:
    one = thought(asked(10, 0.4, right=True), asked(30, 0.45, right=True), asked(60, 0.3, right=False), right=False)
    found = grid([one], {}, (0.9,), (), SPEC, [LIMIT])
    assert found.right[0, :, 0].tolist() == [False, True]  # .45 after 30 tokens lies above the curve
    # the thought, what it decoded beside a probe that gave up at its 1st token of 2 (.3^(2/4) = .55 ≥ .45 does not, so
    # it is whole), its rows, terminator and end, the earlier answer's two tokens again; then the earlier probes' rows
    assert found.tokens[0, :, 0].tolist() == [210, 60 + 3 + 5 + 2 + 2 + 10]
    assert found.steps[0, 1, 0] == 65


def test_before_the_curve_begins_and_above_it_nothing_is_given_up() -> None:
    one = thought(asked(20, 0.01, right=False), asked(90, 0.51, right=False))
    found = grid([one], {}, (0.9,), (), SPEC, [LIMIT])
    assert found.right[0, :, 0].tolist() == [True, True]
    assert not found.harmed.any()


def test_a_thought_that_is_never_probed_is_not_given_up() -> None:
    one = thought(asked(90, 0.1, right=False))
    found = grid([one], {}, (0.9,), (), SPEC, [LIMIT])
    assert found.right[0, :, 0].tolist() == [True, False]
    assert found.harmed[0, :, 0].tolist() == [False, True]


def test_any_trial_that_may_be_the_best_by_then_counts_as_harm() -> None:
    """While limits move, trials may be missing, or may have ended early."""
    surer_is_right = [asked(10, 0.45, right=True), asked(60, 0.3, right=False)]
    assert may_be_given_up(surer_is_right, SPEC.score, LIMIT, lambda seen: not seen.right)
    surer_is_wrong = [asked(10, 0.45, right=False), asked(60, 0.3, right=True)]
    assert may_be_given_up(surer_is_wrong, SPEC.score, LIMIT, lambda seen: not seen.right)
    less_sure_is_wrong = [asked(10, 0.2, right=False), asked(60, 0.3, right=True)]
    assert not may_be_given_up(less_sure_is_wrong, SPEC.score, LIMIT, lambda seen: not seen.right)


PROBES = st.lists(st.tuples(st.floats(0.05, 0.999), st.booleans()), min_size=1, max_size=8)


@given(PROBES, st.lists(st.integers(0, 20), min_size=8, max_size=8))
def test_whatever_limits_and_missing_trials_do_the_corner_covers_it(
    answers: list[tuple[float, bool]], missing: list[int]
) -> None:
    """Every moment's curve is one of the ladder's, and a trial may be unknown but for the newest."""
    probes = [asked(10 + 18 * place, sure, right=right) for place, (sure, right) in enumerate(answers)]
    highest = GiveUpLimit(curve=LADDER[-1], median=60.0)
    covered = may_be_given_up(probes, SPEC.score, highest, lambda seen: not seen.right)
    for place, seen in enumerate(probes):
        curve = GiveUpLimit(curve=LADDER[missing[place] % len(LADDER)], median=60.0)
        if seen.confidence >= curve.at(seen.thought_tokens):
            continue
        known = [probe for at, probe in enumerate(probes[: place + 1]) if at == place or missing[at] % 2]
        best = max(reversed(known), key=lambda probe: probe.confidence)
        if not best.right:
            assert covered


@given(PROBES, st.sampled_from(LADDER), st.sampled_from([0.3, 0.8, 0.95]))
def test_a_probe_that_ends_early_never_changes_where_and_how_a_thought_ends(
    answers: list[tuple[float, bool]], curve: GiveUpCurve, threshold: float
) -> None:
    probes = [asked(10 + 18 * place, sure, right=right) for place, (sure, right) in enumerate(answers)]
    limit = GiveUpLimit(curve=curve, median=60.0)
    early = replayed_probes(probes, replace(SPEC, give_up_below=threshold), limit)
    best: Asked | None = None
    for seen, replayed in zip(probes, early, strict=True):
        if best is None or seen.confidence >= best.confidence:
            best = seen
        sure, low = seen.confidence >= threshold, seen.confidence < limit.at(seen.thought_tokens)
        assert replayed.closes == (sure or low)
        if sure or low:
            assert replayed.stands is (seen if sure else best)
        assert replayed.rows <= seen.rows


def test_sweeps_replay_it_too() -> None:
    probes = (asked(10, 0.45, right=True), asked(60, 0.3, right=False), asked(90, 0.99, right=False))
    one = EvaluationRecord(
        question=QUESTION, reply="", right=True, tokens=210, thought_tokens=200,
        rows=225, ended=True, exit_reason="natural", transitions=3, probes=probes, first_answer=None,
    )  # fmt: skip
    found = replay([one], 0.95, give_up=LIMIT)
    assert (bool(found.right[0]), bool(found.exited[0]), int(found.reply[0])) == (True, True, 60 + 5 + 2)
    assert not replay([one], 0.95).right[0]


# --- tables


def traces(count: int, rng: np.random.Generator) -> list[ThoughtTrace]:
    found = []
    for number in range(count):
        right = bool(rng.random() < 0.7)
        length = 60 if right else 500
        probes = [
            asked(at, 0.99 if right and at > 40 else float(rng.uniform(0.2, 0.4)), right=right and at > 40)
            for at in range(15, length, 15)
        ]
        found.append(thought(*probes, right=right, number=number, length=length))
    return found


def test_where_hopeless_thoughts_are_long_giving_up_saves_much_and_costs_nothing() -> None:
    mine = traces(500, np.random.default_rng(0))
    member = np.array([[number % 3 == d for number in range(500)] for d in range(3)])
    medians = class_medians(mine, member, range(60), made_profile().classes)
    assert (medians.fitted, medians.refused, medians.by_class) == (60, None, (60.0, 60.0, 60.0))
    found = tabulated(
        mine, {}, SPEC, thresholds=(0.95,), budgets=(), medians=medians, member=member,
        unseen=range(60, 500), epsilon=0.03, delta=0.05,
    )  # fmt: skip
    assert found.refused is None
    assert np.array(found.certified)[:, 1, 0].all()
    plain = grid(mine, {}, (0.95,), (), SPEC)
    assert np.mean(np.array(found.tokens)[-1, :, 1, 0]) < 0.5 * plain.tokens[:, 1, 0].mean()
    assert np.mean(np.array(found.accuracy)[-1, :, 1, 0]) == pytest.approx(plain.right[:, 1, 0].mean(), abs=0.01)


def test_a_class_without_enough_questions_that_fit_certifies_no_curve() -> None:
    mine = traces(300, np.random.default_rng(1))
    member = np.array([[number % 3 == d for number in range(300)] for d in range(3)])
    few = class_medians(mine, member, range(3 * FEWEST_FITTED - 1), made_profile().classes)
    assert few.refused is not None
    assert few.refused.startswith(f"{FEWEST_FITTED - 1} hard questions certify nothing, must be at least 8 of each")
    found = tabulated(
        mine, {}, SPEC, thresholds=(0.95,), budgets=(), medians=few, member=member, unseen=range(23, 300),
        epsilon=0.03, delta=0.05,
    )  # fmt: skip
    assert (found.refused, np.array(found.certified).any()) == (few.refused, False)


def test_the_profile_s_own_risk_is_the_one_without_curves() -> None:
    mine = traces(300, np.random.default_rng(2))
    member = np.array([[number % 3 == d for number in range(300)] for d in range(3)])
    medians = class_medians(mine, member, range(60), made_profile().classes)
    found = tabulated(
        mine, {}, SPEC, thresholds=(0.95,), budgets=(), medians=medians, member=member, unseen=range(60, 300),
        epsilon=0.03, delta=0.05,
    )  # fmt: skip
    plain = grid(mine, {}, (0.95,), (), SPEC)
    assert found.harmed[0] == tuple(map(tuple, plain.harmed[60:].sum(axis=0).tolist()))
    levels = np.array(found.harmed)
    assert (np.diff(levels, axis=0) >= 0).all()


def test_harm_and_running_thoughts_are_counted_by_class_under_every_curve() -> None:
    mine = traces(300, np.random.default_rng(4))
    member = np.array([[number % 3 == d for number in range(300)] for d in range(3)])
    found = tabulated(
        mine, {}, SPEC, thresholds=(0.95,), budgets=(), member=member, unseen=range(60, 300), epsilon=0.03, delta=0.05,
        medians=class_medians(mine, member, range(60), made_profile().classes),
    )  # fmt: skip
    assert len(found.by_class) == 1 + len(LADDER)
    for level, told in zip(found.harmed, found.by_class, strict=True):
        assert told.counts == (80, 80, 80)
        assert np.array(told.harmed).sum(axis=0).tolist() == np.array(level).tolist()
    alive = np.array([told.alive for told in found.by_class])  # [curve, class, threshold, age]
    assert (np.diff(alive, axis=0) <= 0).all()  # the higher the curve, the sooner thoughts end
    assert (np.diff(alive, axis=3) <= 0).all()
    assert (alive[:, :, 0] == alive[:1, :, 0]).all()  # what is never probed is not given up
    assert alive[-1, :, 1].sum() < alive[0, :, 1].sum()


def test_a_certificate_of_giving_up_is_a_look_of_its_own() -> None:
    look = CertificateLook(questions=("a",), budgets=(9,), score=Score.JOINT, levels=Levels())
    other = replace(look, curves=LADDER)
    assert look.key != other.key
    assert looked(None, look, other) == {look.key: 0.05, other.key: 0.05}


def test_confidences_are_the_score_s() -> None:
    seen = asked(60, 0.6, right=False)  # jointly .36, which lies below .5
    assert score_of(seen, Score.JOINT) == pytest.approx(0.36)
    assert may_be_given_up([seen], Score.JOINT, LIMIT, lambda _: True)
    assert not may_be_given_up([seen], Score.GEOMETRIC_MEAN, LIMIT, lambda _: True)
