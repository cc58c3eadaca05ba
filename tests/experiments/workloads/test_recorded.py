"""Recorded arrivals: Azure's and ServeGen's files, JSON Lines, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.workloads import Rates, Trace, WorkloadError

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:47.6805900,396,109
2023-11-16 18:15:50.6805900,879,55
2023-11-16 18:15:56.6805900,91,16
"""
RATES = "time_s,rate_per_s,mean_client_cv\n0,2.0,1.0\n600,6.0,3.0\n1200,4.0,1.5\n"


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_trace_keeps_its_gaps_in_order_and_comes_round_again(tmp_path: Path) -> None:
    times = Trace(path=write(tmp_path, "a.csv", AZURE)).arrivals(60.0, rng())
    gaps = np.diff(times)
    cycle = [1.0, 3.0, 6.0, 10.0 / 3.0]
    start = int(np.argmin(np.abs(gaps[:4] - 1.0)))
    np.testing.assert_allclose(gaps[start : start + 8], cycle * 2, atol=1e-5)


def test_a_trace_begins_where_the_seed_says(tmp_path: Path) -> None:
    trace = Trace(path=write(tmp_path, "a.csv", AZURE))
    firsts = {round(float(np.diff(trace.arrivals(60.0, rng(seed)))[0]), 3) for seed in range(30)}
    assert firsts == {1.0, 3.0, 6.0, 3.333}
    np.testing.assert_array_equal(trace.arrivals(60.0, rng(4)), trace.arrivals(60.0, rng(4)))


def test_a_scaled_trace_has_the_rate_asked_for_and_its_own_burstiness(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", AZURE)
    plain, scaled = Trace(path=path), Trace(path=path, rate=7.0)
    slow, fast = (np.diff(one.arrivals(4_000.0, rng())) for one in (plain, scaled))
    assert fast.mean() == pytest.approx(1.0 / 7.0, rel=0.01)
    assert fast.std() / fast.mean() == pytest.approx(slow.std() / slow.mean(), rel=0.02)


@pytest.mark.parametrize("field", ["at", "AT"])
def test_json_lines_are_read_by_the_field_named(tmp_path: Path, field: str) -> None:
    lines = "\n".join(json.dumps({"id": i, "at": at}) for i, at in enumerate((5.0, 1.0, 2.0)))  # in any order
    times = Trace(path=write(tmp_path, "a.jsonl", lines), field=field).arrivals(200.0, rng())
    assert set(np.diff(times).round(6)) == {1.0, 3.0, 2.0}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "TIME,x\n1,2\n", r"a.csv:2: has no 'timestamp', but 'TIME', 'x'"),
        ("a.csv", "TIMESTAMP\nsoon\n", r"a.csv:2: timestamp is 'soon', must be seconds or a date and time"),
        ("a.csv", "TIMESTAMP,x\n1\n", r"a.csv:2: must have 2 values, as its header"),
        ("a.csv", "TIMESTAMP\n1\n", "has 1 different times, must have at least 2"),
        ("a.csv", "TIMESTAMP\n1\n1\n", "has 1 different times, must have at least 2"),
        ("a.csv", "", "has 0 different times"),
        ("a.csv", RATES, "is a table of rates, must have kind rates"),
        ("a.jsonl", '{"timestamp": 1}\n[2]\n', r"a.jsonl:2: is '\[2\]', must be an object"),
        ("a.jsonl", '{"timestamp": 1}\n{"times', r"a.jsonl:2: is not JSON"),
        ("a.jsonl", '{"timestamp": NaN}\n', "timestamp is nan, must be seconds"),
        ("a.jsonl", '{"timestamp": null}\n', "a.jsonl:1: has no 'timestamp'"),
    ],
)
def test_a_file_that_is_no_trace_is_named_with_the_line_and_the_fault(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(WorkloadError, match=said):
        Trace(path=write(tmp_path, name, text)).arrivals(10.0, rng())


def test_a_missing_file_is_told_before_it_is_used(tmp_path: Path) -> None:
    for make in (Trace, Rates):
        with pytest.raises(WorkloadError, match=r"nowhere\.csv: there is no such file"):
            make(path=tmp_path / "nowhere.csv")


def test_rates_are_followed_through_the_day_and_come_round_again(tmp_path: Path) -> None:
    times = Rates(path=write(tmp_path, "rates.csv", RATES)).arrivals(1_800.0 * 40, rng())
    within = times % 1_800.0
    counted = np.array([np.sum((within >= begin) & (within < begin + 600.0)) for begin in (0.0, 600.0, 1200.0)])
    np.testing.assert_allclose(counted / (600.0 * 40), [2.0, 6.0, 4.0], rtol=0.05)


def test_a_day_of_rates_can_be_shortened_and_scaled(tmp_path: Path) -> None:
    times = Rates(path=write(tmp_path, "rates.csv", RATES), rate=20.0, period_s=90.0).arrivals(9_000.0, rng())
    assert times.size / 9_000.0 == pytest.approx(20.0, rel=0.05)
    within = times % 90.0
    assert np.sum((within >= 30.0) & (within < 60.0)) / times.size == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time_s,rate_per_s\n0,1\n", "has no 'mean_client_cv'"),
        (
            "time_s,rate_per_s,mean_client_cv\n0,-1,1\n",
            "rates.csv:2: rate_per_s is -1.0, must be finite and at least 0",
        ),
        ("time_s,rate_per_s,mean_client_cv\n0,1,0\n", "mean_client_cv is 0.0, must be finite and above 0"),
        ("time_s,rate_per_s,mean_client_cv\n5,1,1\n5,1,1\n", "rates.csv:3: time_s is 5, must be above 5"),
        ("time_s,rate_per_s,mean_client_cv\n0,1,1\n", "has 1 rates, must have at least 2"),
        ("time_s,rate_per_s,mean_client_cv\n0,many,1\n", "rate_per_s is 'many', must be a number"),
    ],
)
def test_a_bad_table_of_rates_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WorkloadError, match=said):
        Rates(path=write(tmp_path, "rates.csv", text)).arrivals(10.0, rng())
