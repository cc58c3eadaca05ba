"""Simulated requests in words: classes from easy to hard, benchmarks apart, and what came of them first."""

from __future__ import annotations

from dataclasses import replace

from experiments.simulation.summary import summary, verdict
from tests.experiments.trials.test_trials import record

RECORDS = [record(number, latency_s=1.0 + number % 4, right=number % 5 > 0) for number in range(40)]


def heads(part: str) -> list[str]:
    """The first column below the heads, without the explanation."""
    return [line.split("  ")[0] for line in part.splitlines()[2:] if not line.startswith("  ")]


def test_the_first_sentence_is_what_people_meet() -> None:
    told = (
        "Of 40 simulated requests 80.0 % are answered right; a reply takes 2.50 s in the mean, one in twenty 4.00 s or"
    )
    assert summary(RECORDS).replace("\n", " ").startswith(told)


def test_a_policy_is_compared_with_full_thought_before_all_else() -> None:
    full = [replace(one, rows=2 * one.rows, latency_s=2.0 * one.latency_s, right=True) for one in RECORDS]
    told = summary(RECORDS, full=full).replace("\n", " ")
    assert told.startswith(
        "Against full thought on the same arrivals it saves 50.0 % of the tokens, probes counted, and costs 20.0 "
    )
    assert "; a reply takes 2.50 s in the mean instead of 5.00 s. Of 40 simulated requests" in told


def test_classes_stand_in_the_profile_s_order_and_benchmarks_apart() -> None:
    _, classes, benchmarks, ends = summary(RECORDS).split("\n\n")
    assert heads(classes) == ["easy", "medium", "hard", "None", "all requests"]
    assert heads(benchmarks) == ["recall", "words", "all requests"]
    assert ends.splitlines() == ["thoughts ended: confidence 100.0%", "  confidence: a trial answer was sure enough"]
    _, classes, *_ = summary(RECORDS, ("hard", "easy", "medium")).split("\n\n")
    assert heads(classes)[:3] == ["hard", "easy", "medium"]


def test_failed_requests_are_told() -> None:
    lost = record(41, right=None, error="CapacityError: full", exit_reason=None)
    assert verdict([*RECORDS, lost]).endswith(" 1 request failed, the first by CapacityError: full.")
    assert "no request was served" in verdict([lost])
    assert "unended: the reply broke off in the thought" in summary([lost])
