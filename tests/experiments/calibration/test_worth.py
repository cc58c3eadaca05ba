"""What a certificate is worth, in words and numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from experiments.calibration.summary import summary
from experiments.calibration.worth import contest_table, more_questions, reaches, rounded, worth
from models.profile.certificate import Certificate, certify, evidence, fewest_questions
from models.profile.profile import Profile
from tests.support.contests import contest
from tests.support.model_profile import PROFILE


def tables(saving: float) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Tokens that fall by `saving` from threshold to threshold, and by three tenths with the budget: [2, 3, 2]."""
    rows = [[200.0 * (1.0 - saving * i) * (1.0 - 0.3 * j) for j in (0, 1)] for i in range(3)]
    return tuple(tuple(map(tuple, rows)) for _ in range(2))


def small(harmed: list[list[int]], count: int = 200, saving: float = 0.2) -> Profile:
    certificate = certify(harmed, count, epsilon=0.03, delta=0.05)
    return replace(PROFILE, certificate=certificate, tokens=tables(saving))


@pytest.mark.parametrize(("share", "count"), [(0.0, 130), (0.005, 200), (0.015, 400), (0.02, 400)])
def test_so_many_more_questions_at_the_same_rate_are_just_enough(share: float, count: int) -> None:
    harmed = round(share * count)
    tested = Certificate(
        epsilon=0.03, delta=0.05, count=count, harmed=((0, 0, 0), (harmed,) * 3), bounds=(), certified=()
    )  # fmt: skip
    more = more_questions(tested, 1, 0)
    assert more is not None

    def allowed(questions: int) -> bool:
        if questions < fewest_questions(0.03, 0.05, 3):
            return False
        table = [[0, 0, 0], [round(harmed / count * questions)] * 3]
        return certify(table, questions, epsilon=0.03, delta=0.05).certified[1][0]

    assert allowed(count + more)
    assert more == 1 or not allowed(count + round(0.9 * more) - 1)


@pytest.mark.parametrize("harmed", [6, 7, 100])
def test_a_share_at_the_risk_or_above_is_never_enough(harmed: int) -> None:
    tested = replace(small([[0, 0], [0, 0], [0, 0]]).certificate, harmed=((0, 0), (harmed, 0), (harmed, 0)))
    assert more_questions(tested, 1, 0) is None  # 6 of 200 is the risk itself


def test_the_next_useful_threshold_and_budget_are_told_with_what_they_take() -> None:
    found = list(reaches(small([[0, 5], [1, 5], [4, 9]])))
    assert [(one.threshold, one.budget) for one in found] == [(0.8, None), (None, 120)]
    assert found[0].saved == pytest.approx(0.4)
    assert all(one.more is not None and one.more > 100 for one in found)
    usual = replace(small([[0, 5], [4, 5], [5, 9]]), thresholds=(None, 0.95, 0.9))
    assert [one.threshold for one in reaches(usual)] == [0.95, 0.9, None]  # and the one that all know
    enough = small([[0, 5], [1, 5], [4, 9]], saving=0.4)
    assert [one.budget for one in reaches(enough)] == [None]  # the budget saves less than what is certified
    little = small([[0, 5], [1, 5], [4, 9]], saving=0.001)
    assert [one.budget for one in reaches(little)] == [120]  # 0.80 would save nothing more


def test_the_words_say_what_is_saved_and_what_more_would_allow() -> None:
    told = in_one_line(worth(small([[0, 6], [1, 6], [4, 6]])))
    assert "more questions would allow threshold 0.80, which saves 40 % (estimated" in told
    assert "Budget 120 would save 30 %, but harms too often" in told
    assert "`laser calibrate --from-records` does it" in told


def test_what_is_saved_is_told_once_by_the_summary_or_where_there_is_none() -> None:
    profile = small([[0, 6], [1, 6], [4, 6]])
    saves = "saves 20.0 % of the tokens, probes counted,"
    assert saves in in_one_line(summary(profile))
    assert saves not in in_one_line(worth(profile))
    assert saves in in_one_line(worth(profile, alone=True))


def test_the_words_tell_load_aware_s_latency_at_each_load() -> None:
    told = in_one_line(worth(replace(PROFILE, contest=contest(0.1, 0.1))))
    assert "At 5 requests/s, 50 % of what full thoughts allow, load-aware replies take 0.30 s instead of 0.50 s" in told
    assert told.count("(-40 %), accuracy +0.0 points (estimated, simulated)") == 2
    worse = in_one_line(worth(replace(PROFILE, contest=contest(-0.1, 0.1))))
    assert "safe constant replies take" in worse  # what would be served
    assert "load-aware replies" not in worse


def test_a_certificate_of_nothing_is_worth_nothing() -> None:
    given = PROFILE.certificate
    seen = evidence(2, 90, None, given.count, given.delta)
    refused = certify(given.harmed, given.count, epsilon=given.epsilon, delta=given.delta, evidence=seen)
    assert worth(replace(PROFILE, certificate=refused)).startswith("What this is worth: nothing yet.")
    assert "Nothing but full thought is certified" in worth(small([[0, 9], [9, 9], [9, 9]]), alone=True)


def test_looking_again_is_told_with_its_price() -> None:
    assert "looked" not in worth(PROFILE)
    assert "looked" not in worth(replace(PROFILE, provenance={"looked": {"a": 0.05}}))
    told = worth(replace(PROFILE, provenance={"looked": {"a": 0.05, "b": 0.05, "c": 0.1}}))
    assert "3 certificates of this model were looked at" in told
    assert "at most 0.2, the sum of their --delta" in told


def test_counts_are_told_to_two_digits_upwards() -> None:
    assert [rounded(count) for count in (1, 99, 101, 871, 900, 12_345)] == [1, 99, 110, 880, 900, 13_000]


def test_the_contest_s_table_has_every_policy_and_the_figure_that_decides() -> None:
    told = contest_table(contest(0.1, -0.1, 0.0))
    lines = told.splitlines()
    heads, rows = [re.split(r"  +", line.strip()) for line in lines[1:2]], lines[2 : 2 + 3 * 4]
    assert heads == [["policy", "of capacity", "requests/s", "latency s", "p95", "accuracy", "tokens", "gain, points"]]
    assert [row for row in rows if "not certified" in row] == rows[3::4]
    aware = [re.split(r"  +", row.strip()) for row in rows if row.startswith("load-aware")]
    assert aware[0] == ["load-aware", "50%", "5", "0.30", "0.60", "90.0%", "200", "+10.00 (95 %: 9.00 … 11.00)"]
    assert [row[-1] for row in aware[1:]] == ["-10.00 (95 %: -11.00 … -9.00)", "+0.00 (95 %: -1.00 … 1.00)"]
    assert "p95: that many per cent of them are lower" in in_one_line(told)
    assert "`laser serve` takes the safe constant, threshold 0.95: simulated at 90% of capacity" in in_one_line(told)


def in_one_line(told: str) -> str:
    return " ".join(told.split())
