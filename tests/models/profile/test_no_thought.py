"""Answers at once: the switch, points of a profile that have a cut-off, what is certified, refused and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policies.restricted import with_levers, within_account, within_risk
from models.profile.certificate import fewest_questions, upper_bound
from models.profile.corners import corners
from models.profile.difficulty import FEWEST, FOLDS
from models.profile.lever import Lever
from models.profile.levers.no_thought_tables import CUT_OFFS, check_cut_offs
from models.profile.levers.switch import Switch, folds, learn_switch
from models.profile.profile import ProfileError, read_profile, write_profile
from models.profile.tables import OperatingPoint
from tests.support.analysis_profile import made_profile
from tests.support.give_up_profile import giving_up_profile
from tests.support.no_thought_profile import COUNT, SURE, no_thought_profile

USED = with_levers(no_thought_profile(), {Lever.NO_THOUGHT})


# --- the switch


def prompts(count: int, seed: int) -> tuple[list[list[int]], np.ndarray]:
    """Prompts of random tokens, of which those that hold token 7 need no thought, but for a tenth."""
    rng = np.random.default_rng(seed)
    said = [rng.integers(10, 200, size=20).tolist() for _ in range(count)]
    easy = rng.random(count) < 0.5
    for one, is_easy in zip(said, easy, strict=True):
        if is_easy:
            one[5] = 7
    return said, np.where(rng.random(count) < 0.1, ~easy, easy)


def test_the_switch_tells_prompts_that_need_no_thought() -> None:
    said, needless = prompts(1200, 0)
    learned = learn_switch(said, needless.tolist())
    marked = np.array([7 in one for one in said])
    assert learned.scores[marked].mean() > 0.75
    assert learned.scores[~marked].mean() < 0.25
    assert learned.scores.mean() == pytest.approx(needless.mean(), abs=0.02)
    fresh, truth = prompts(600, 1)
    scores = np.array([learned.switch.score(one) for one in fresh])
    assert np.mean((scores > 0.5) == truth) > 0.85


@pytest.mark.parametrize("number", range(FOLDS))
def test_scores_are_of_switches_that_have_not_seen_the_question(number: int) -> None:
    """What a question's own answer was changes the switch that serves, and not the question's score.

    Nor do all answers of its fold at once, which change every choice that they have a part in.
    """
    said, needless = prompts(120, 2)
    before, mine = learn_switch(said, needless.tolist()), folds(120) == number
    first = int(np.flatnonzero(mine)[0])
    one, every, alike = (needless.copy() for _ in range(3))
    one[first] = not one[first]
    every[mine], alike[mine] = ~needless[mine], True
    for other in (one, every, alike):
        after = learn_switch(said, other.tolist())
        assert after.scores[mine].tolist() == before.scores[mine].tolist()
        assert after.switch.score(said[first]) != before.switch.score(said[first])
        assert (after.scores[~mine] != before.scores[~mine]).any()


@pytest.mark.parametrize("needless", [True, False])
def test_where_all_are_alike_the_switch_says_so(needless: bool) -> None:
    said, _ = prompts(60, 3)
    learned = learn_switch(said, [needless] * 60)
    assert all(abs(score - needless) < 0.1 for score in learned.scores)
    assert 0.0 <= learned.switch.score(said[0]) <= 1.0


def test_too_few_prompts_and_other_weights_are_refused() -> None:
    said, needless = prompts(FEWEST - 1, 4)
    with pytest.raises(ValueError, match=f"{FEWEST - 1} prompts to learn a switch from, must be at least {FEWEST}"):
        learn_switch(said, needless.tolist())
    with pytest.raises(ValueError, match="weights has 2 values, must have 514"):
        Switch(weights=(0.0, 1.0))


# --- the profile


def test_cut_offs_fall_between_0_and_1() -> None:
    check_cut_offs(CUT_OFFS)
    for wrong in ((), (0.9, 0.9), (0.8, 0.9), (1.0, 0.9), (0.5, 0.0)):
        with pytest.raises(ValueError, match=r"cut_offs are .*, must lie between 0 and 1 and fall"):
            check_cut_offs(wrong)
    with pytest.raises(ValueError, match=r"skip is 1\.0, must lie between 0 and 1"):
        OperatingPoint(threshold=None, budget=None, skip=1.0)


def test_points_with_a_cut_off_are_in_use_only_where_a_policy_wants_them() -> None:
    plain = no_thought_profile()
    assert plain.points() == made_profile(certified_to=5).points()
    assert {point.skip for point in USED.points()} == {None, *CUT_OFFS}
    assert USED.points()[0] == OperatingPoint(threshold=None, budget=None)
    assert OperatingPoint(threshold=None, budget=None, skip=CUT_OFFS[0]) in USED.points()
    tables = USED.tables()
    assert tables.points == USED.points()
    assert USED.no_thought is not None
    for k, point in enumerate(tables.points):
        i, j = USED.thresholds.index(point.threshold), USED.budgets.index(point.budget)
        source = USED.tokens if point.skip is None else USED.no_thought.tokens[CUT_OFFS.index(point.skip)]
        assert tables.tokens[:, k].tolist() == [source[d][i][j] for d in range(3)]


def test_a_corner_holds_the_points_that_are_nowhere_laxer() -> None:
    tables = USED.tables()
    inside = tables.inside()
    for k, corner in enumerate(tables.points):
        for m, point in enumerate(tables.points):
            stricter = (point.threshold or 1.01) >= (corner.threshold or 1.01)
            longer = (point.budget or 10**6) >= (corner.budget or 10**6)
            assert inside[k, m] == (stricter and longer and (point.skip or 1.01) >= (corner.skip or 1.01))
        assert {tables.points[m].skip for m in tables.beside(k)} == {corner.skip}


def test_the_range_that_requests_may_ask_for_has_no_cut_off() -> None:
    assert corners(USED) == corners(no_thought_profile())


def test_a_profile_with_cut_offs_comes_back_from_its_file_and_does_not_say_who_uses_them(tmp_path: Path) -> None:
    made = with_levers(no_thought_profile(harmed=1), {Lever.NO_THOUGHT})
    write_profile(tmp_path / "profile.json", made)
    assert read_profile(tmp_path / "profile.json") == replace(made, levers=frozenset())


def test_a_profile_without_cut_offs_says_nothing_of_them(tmp_path: Path) -> None:
    write_profile(tmp_path / "profile.json", made_profile())
    assert "no_thought" not in (tmp_path / "profile.json").read_text()


def test_a_profile_that_has_no_cut_offs_or_certifies_none_is_refused() -> None:
    with pytest.raises(ProfileError, match="no_thought is True, but the profile has no points that answer at once"):
        with_levers(made_profile(), {Lever.NO_THOUGHT})
    with pytest.raises(ProfileError, match="certifies no cut-off: even the highest cut-off has a bound of"):
        with_levers(no_thought_profile(harmed=60), {Lever.NO_THOUGHT})
    with pytest.raises(ValueError, match="levers has no-thought, must not"):
        replace(made_profile(), levers=frozenset({Lever.NO_THOUGHT}))


def test_an_account_of_risk_charges_no_answers_at_once_and_so_it_is_refused() -> None:
    with pytest.raises(ProfileError, match="no_thought is True, must be False beside an account of risk"):
        with_levers(within_account(no_thought_profile(), 0.05, 0.1), {Lever.NO_THOUGHT})


def test_with_too_few_questions_no_cut_off_is_certified_at_a_smaller_risk() -> None:
    columns = (1 + len(CUT_OFFS)) * 5
    needed = fewest_questions(0.01, 0.05, columns)
    assert needed > COUNT
    tight = within_risk(no_thought_profile(), 0.01)
    assert tight.points() != ()
    with pytest.raises(ProfileError, match=f"{COUNT} questions certify, must be at least {needed}.*cut-offs"):
        with_levers(tight, {Lever.NO_THOUGHT})


@given(st.lists(st.integers(0, 12), min_size=len(CUT_OFFS), max_size=len(CUT_OFFS)))
def test_what_is_certified_is_what_a_plain_loop_certifies(added: list[int]) -> None:
    """Each cut-off harms some questions more than the last; columns share δ, and the first failure ends all laxer."""
    made = made_profile(certified_to=5)
    base = np.array(made.certificate.harmed)
    levels = np.stack([base, *(np.minimum(COUNT, base + more) for more in np.cumsum(added))])
    assert no_thought_profile().no_thought is not None
    tables = replace(no_thought_profile().no_thought, harmed=tuple(_rows(level) for level in levels)).at_risk(
        0.05, 0.05, COUNT
    )
    share = 0.05 / (levels.shape[0] * levels.shape[2])
    safe = np.ones(levels.shape, dtype=bool)
    for s, level in enumerate(levels):
        for i, row in enumerate(level.tolist()):
            for j, harmed in enumerate(row):
                within = [safe[s - 1, i, j] if s else True, safe[s, i - 1, j] if i else True]
                within.append(bool(safe[s, i, j - 1]) if j else True)
                full = (s, i, j) == (0, 0, 0)
                safe[s, i, j] = all(within) and (full or upper_bound(harmed, COUNT, share) <= 0.05)
    refused = not safe[1:].any()
    assert (tables.refused is not None) == refused
    assert np.array(tables.certified).tolist() == safe.tolist()


def _rows(level: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, level.tolist()))


def test_beside_lower_curves_both_share_delta() -> None:
    both = replace(giving_up_profile(), no_thought=no_thought_profile(harmed=2).no_thought)
    used = with_levers(both, {Lever.GIVE_UP, Lever.NO_THOUGHT})
    assert used.no_thought is not None
    assert used.give_up is not None
    share = 0.025 / (6 * 5)
    assert used.no_thought.bounds[1][0][0] == upper_bound(2, COUNT, share)
    assert used.give_up.bounds[1][1][0] == upper_bound(0, COUNT, share)
    assert {(point.give_up is None, point.skip is None) for point in used.points()} == {
        (True, True), (False, True), (True, False),
    }  # fmt: skip
    tables = used.tables()
    assert tables.points == used.points()
    assert tables.medians is not None


def test_a_sure_switch_is_sure() -> None:
    assert SURE.score([1, 2, 3]) > max(CUT_OFFS)
