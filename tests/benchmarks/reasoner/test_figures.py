"""What the figures of a reasoner say, on records whose figures are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reasoner.aims import AIMS, RISKS, SAMPLES, THRESHOLDS, ReasonerAim
from benchmarks.reasoner.figures import (
    figures,
    first_to_finish,
    right_after,
    steepness,
    told_by_words,
    voted,
)
from benchmarks.reasoner.size import sizes
from benchmarks.reasoner.thresholds import at, laxest_within, replayed, threshold_table
from experiments.calibration.traces import ThoughtTrace
from models.reasoner import bundled_model
from tests.support.reasoner_evidence import direct, made_evidence, probe, question, reply, trace


def test_every_aim_has_a_name_of_its_own_and_a_bar() -> None:
    assert len({aim.name for aim in AIMS}) == len(AIMS)
    assert all(aim.low is not None or aim.high is not None for aim in AIMS)
    assert len(THRESHOLDS) == len(set(THRESHOLDS)) >= 20


@pytest.mark.parametrize(("value", "met"), [(0.39, False), (0.4, True), (0.7, True), (0.71, False)])
def test_bars_count_as_met(value: float, met: bool) -> None:
    assert ReasonerAim(name="a", says="a", low=0.4, high=0.7).met(value) is met


def test_whole_records_tell_every_aim() -> None:
    thoughts = [trace(20 + n, probe(10, 0.6, right=n % 2 == 0), natural=n % 3 > 0, right=n % 3 > 0) for n in range(40)]
    replies = [reply("7", 30, right=True, sample=sample) for sample in range(SAMPLES)]
    found = made_evidence({"a": thoughts, "b": [trace(5)] * 40}, directly=False, replies=replies)
    told = figures(found, threshold_table(replayed(found), np.arange(80)))
    assert told.keys() | sizes(bundled_model()).keys() == {aim.name for aim in AIMS}


def test_what_was_not_recorded_is_not_told() -> None:
    found = made_evidence({"a": [trace(20)], "b": [trace(5)]})
    told = figures(found, threshold_table(replayed(found), np.arange(2)))
    assert "right" in told
    assert not {"vote", "race", "beyond reach", "solved at once", "worth of thought", "right at the cap"} & told.keys()


def test_families_are_called_by_their_full_thoughts() -> None:
    found = made_evidence({"a": [trace(9)], "b": [trace(9, right=False)], "c": [trace(9), trace(9, right=False)]})
    assert (found.hardest, found.easiest) == ("b", "a")


def test_a_thought_of_a_length_has_the_last_trial_answer_until_then() -> None:
    one = trace(100, probe(20, 0.5, right=False), probe(40, 0.5, right=True), right=False)
    told = {tokens: right_after(one, direct(True), tokens) for tokens in (0, 19, 20, 40, 99, 100, 200)}
    assert told == {0: True, 19: True, 20: False, 40: True, 99: True, 100: False, 200: False}
    assert right_after(one, None, 10) is False


def test_accuracy_that_grows_at_two_doublings_in_a_row_is_steep() -> None:
    def thoughts(*from_tokens: int) -> list[ThoughtTrace]:
        return [trace(300, probe(tokens, 0.5, right=True)) for tokens in from_tokens]

    found = made_evidence(
        {"grows": thoughts(10, 20, 40, 80), "jumps": thoughts(30, 30, 30, 30), "flat": thoughts(1, 1, 1, 1)},
        directly=False,
    )
    assert steepness(found, "grows") == pytest.approx(0.25)
    assert steepness(found, "jumps") == steepness(found, "flat") == 0.0


def test_the_risk_counts_every_probe_of_that_confidence_and_the_exit_only_the_first() -> None:
    thoughts = [trace(50, probe(10, 0.8, right=True), probe(20, 0.9, right=False)), trace(50)]
    found = made_evidence({"a": thoughts})
    table = threshold_table(replayed(found), np.arange(2))
    assert at(table, 0.5).against.points_lost == 0.0  # the first probe of that confidence is right
    assert at(table, 0.5).risk.share == at(table, 0.9).risk.share == 0.5
    assert at(table, 0.9).against.points_lost == 50.0
    assert at(table, 0.95).risk.share == 0.0


def test_tokens_are_net_of_probes() -> None:
    found = made_evidence({"a": [trace(50, probe(10, 0.4, right=True))]})
    table = threshold_table(replayed(found), np.arange(1))
    assert table[0].threshold is None
    assert table[0].tokens == 55.0  # the full thought is not probed
    assert at(table, 0.3).tokens < 25.0
    assert at(table, 0.5).tokens > 55.0  # a probe that did not end the thought
    assert at(table, 0.5).times < 1.0 < at(table, 0.3).times


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.tuples(st.floats(0.01, 0.999), st.booleans()), max_size=4)),
        min_size=1,
        max_size=12,
    )
)
def test_the_risk_never_falls_towards_laxer_thresholds(
    drawn: list[tuple[bool, list[tuple[float, bool]]]],
) -> None:
    thoughts = [
        trace(90, *(probe(10 * (n + 1), sure, right=right) for n, (sure, right) in enumerate(probes)), right=full)
        for full, probes in drawn
    ]
    found = made_evidence({"a": thoughts})
    table = threshold_table(replayed(found), np.arange(len(thoughts)))
    risks = [one.risk.share for one in table]
    assert risks == sorted(risks)
    assert all(one.against.points_lost <= 100.0 * one.risk.share + 1e-9 for one in table)
    for risk in RISKS:
        chosen = laxest_within(table, risk)
        assert chosen.risk.share <= risk
        assert all(one.risk.share > risk for one in table[table.index(chosen) + 1 :])


def test_the_majority_wins_and_an_empty_answer_does_not_vote() -> None:
    said = [
        reply("1", 9, right=False),
        reply("2", 30, right=True),
        reply(" ", 1, right=False),
        reply("2 ", 20, right=True),
    ]
    assert voted([*said, reply("", 1, right=False)]) is said[3]
    tied = [reply("1", 30, right=False), reply("2", 20, right=True), reply("3", 25, right=False)]
    assert voted(tied) is tied[1]  # the shortest of those with as many votes


def test_only_those_that_race_may_finish_first() -> None:
    said = [reply(str(n), tokens, right=False) for n, tokens in enumerate((50, 40, 40, 60, 10))]
    assert first_to_finish(said) is said[1]


def test_what_the_prompt_tells_of_the_length_is_told() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 9, size=200)
    texts = [" ".join(["5"] * count) for count in numbers]
    told = made_evidence({"a": [trace(int(np.exp(2 + count / 3)), prompt=12) for count in numbers]})
    told = replace(told, questions=[question("a", 0, text) for text in texts])
    assert told_by_words(told) > 0.95
    blind = made_evidence({"a": [trace(int(length)) for length in rng.integers(5, 400, size=200)]})
    blind = replace(blind, questions=[question("a", 0, text) for text in texts])
    assert told_by_words(blind) < 0.1
