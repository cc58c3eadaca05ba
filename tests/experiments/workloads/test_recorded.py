"""Recorded arrivals: Azure's and ServeGen's files, JSON Lines, and what is wrong with others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.workloads import Poisson, Rates, TimeUnit, Trace, WorkloadError, lasting_s, read_workload
from experiments.workloads.recorded import too_short
from tests.support.engine_requests import search

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


def test_a_trace_that_does_not_repeat_ends_the_run(tmp_path: Path) -> None:
    trace = Trace(path=write(tmp_path, "a.csv", AZURE), repeat=False)
    assert trace.lasts_s == pytest.approx(10.0, abs=1e-5)
    np.testing.assert_allclose(np.diff(trace.arrivals(60.0, rng())), [1.0, 3.0, 6.0], atol=1e-5)  # once, whole
    assert lasting_s(trace, 60.0) == trace.lasts_s
    assert lasting_s(trace, 5.0) == 5.0
    parts = [trace.arrivals(5.0, rng(seed)).tolist() for seed in range(20)]  # some stretch of it
    assert len({len(part) for part in parts}) > 1
    assert all(0.0 <= at < 5.0 for part in parts for at in part)
    twice = Trace(path=trace.path, rate=2.0 * 3 / trace.lasts_s, repeat=False)
    assert twice.lasts_s == pytest.approx(trace.lasts_s / 2.0)


def test_a_file_that_is_shorter_than_the_run_is_told(tmp_path: Path) -> None:
    path, day = write(tmp_path, "a.csv", AZURE), write(tmp_path, "rates.csv", RATES)
    assert too_short(Trace(path=path), 5.0) is None
    assert too_short(Poisson(rate=1.0), 1e9) is None
    told = too_short(Trace(path=path), 60.0)
    assert told is not None
    assert told.startswith(
        f"{path} has arrivals for 10 s, the run is to take 60 s: they come round, 6.0 times in all; "
    )
    assert "`repeat: false`" in told
    assert str(too_short(Trace(path=path, repeat=False), 60.0)).endswith("it ends with them, as `repeat: false` says")
    once = Rates(path=day, repeat=False)
    assert "it ends with them" in str(too_short(once, 1e5))
    assert "they come round" in str(too_short(Rates(path=day), 1e5))
    assert once.arrivals(1e5, rng()).max() < once.lasts_s == lasting_s(once, 1e5)


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


# --- units of time, encodings, and numbers out of range


def lines_of(times: list[object], key: str = "timestamp") -> str:
    return "".join(json.dumps({key: each}) + "\n" for each in times)


@pytest.mark.parametrize(("unit", "scale"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])
def test_the_unit_of_numbers_may_be_stated(tmp_path: Path, unit: str, scale: float) -> None:
    whole = [round(at / scale) for at in (0.0, 1.0, 4.0, 5.0)]
    file = tmp_path / "workload.yaml"
    file.write_text(f"kind: trace\npath: a.jsonl\nunit: {unit}\n")
    write(tmp_path, "a.jsonl", lines_of([*whole]))
    gaps = np.diff(read_workload(file).arrivals(60.0, rng()))
    assert set(gaps.round(3)) == {1.0, 3.0, 1.667}


MILLISECONDS = [250 * number for number in range(200)]


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        (MILLISECONDS, "0.004"),
        ([1_700_000_000 + each for each in MILLISECONDS], "0.004"),
        ([each * 1_000 for each in MILLISECONDS], "4e-06"),
        ([each / 1e6 for each in MILLISECONDS], "4e\\+03"),
        ([str(each) for each in MILLISECONDS], "0.004"),
    ],
)
def test_numbers_that_are_hardly_seconds_are_refused_until_their_unit_is_stated(
    tmp_path: Path, times: list[object], rate: str
) -> None:
    file = write(tmp_path, "a.jsonl", lines_of(times))
    with pytest.raises(
        WorkloadError,
        match=rf"a\.jsonl: read as seconds, timestamp gives {rate} requests/s, and 0\.02 to 1000 are plausible: state "
        r"`unit:`, one of s, ms, us, ns",
    ):
        Trace(path=file).arrivals(10.0, rng())
    assert Trace(path=file, unit=TimeUnit.SECONDS).arrivals(500.0, rng()).size >= 0
    assert Trace(path=file, rate=5.0).arrivals(100.0, rng()).size > 300  # which needs no unit


def test_many_whole_numbers_that_may_be_milliseconds_are_refused_until_their_unit_is_stated(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", lines_of([40 * number for number in range(200)]))
    with pytest.raises(WorkloadError, match=r"200 whole numbers that give 0\.025 requests/s as seconds, and may be"):
        Trace(path=file).arrivals(10.0, rng())
    assert Trace(path=file, unit=TimeUnit.MILLISECONDS).arrivals(10.0, rng()).size > 200
    few = write(tmp_path, "b.jsonl", lines_of([40 * number for number in range(99)]))
    assert Trace(path=few).arrivals(100.0, rng()).size > 1


@pytest.mark.parametrize("first", [1_700_000_000_000, 1_700_000_000_000_000, 1_700_000_000_000_000_000])
def test_times_since_1970_in_a_smaller_unit_are_refused_by_line(tmp_path: Path, first: int) -> None:
    file = write(tmp_path, "a.jsonl", lines_of([first + number for number in range(9)]))
    with pytest.raises(
        WorkloadError, match=r"a\.jsonl:1: timestamp is 17.*, must be at most 1e\+11 s from 0: state `unit"
    ):
        Trace(path=file).arrivals(10.0, rng())


def test_dates_need_no_unit_however_rare_they_are(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "timestamp\n2024-01-01\n2024-01-02\n2024-01-04\n")
    assert set(np.diff(Trace(path=file).arrivals(1e6, rng())).round()) == {86_400.0, 172_800.0, 129_600.0}


def test_a_table_of_rates_in_milliseconds_is_refused_until_that_is_stated(tmp_path: Path) -> None:
    file = write(tmp_path, "r.csv", "time_s,rate_per_s,mean_client_cv\n0,2,1\n60000,6,1\n120000,4,1\n")
    with pytest.raises(WorkloadError, match=r"r\.csv: read as seconds, time_s has 60000 s from row to row, and at"):
        Rates(path=file).arrivals(10.0, rng())
    assert Rates(path=file, unit=TimeUnit.MILLISECONDS).arrivals(600.0, rng()).size > 500


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.CSV.GZ"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_with_a_mark_or_in_gzip_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    content = "timestamp,x\n0,1\n1,1\n3,1\n".encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    assert set(np.diff(Trace(path=tmp_path / name).arrivals(60.0, rng())).round(6)) == {1.0, 2.0, 1.5}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines_with_a_mark_or_in_gzip_are_read(tmp_path: Path, name: str) -> None:
    content = '{"timestamp":0}\n{"timestamp":2}\n'.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert set(np.diff(Trace(path=tmp_path / name).arrivals(60.0, rng())).round(6)) == {2.0}


@pytest.mark.parametrize(("encoding", "told"), [("utf-16", "it is UTF-16"), ("latin-1", "if it is Latin-1")])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, told: str) -> None:
    (tmp_path / "a.csv").write_bytes("timestamp,Größe\n0,1\n1,1\n".encode(encoding))
    with pytest.raises(WorkloadError, match=rf"a\.csv: is not UTF-8: .*{told}"):
        Trace(path=tmp_path / "a.csv").arrivals(60.0, rng())


@pytest.mark.parametrize(
    "said", ["1e300", "-1e300", "1e12", "9" * 400, "true", '"1e999"', '"nan"', "[1]", '"9e99"', "{}"]
)
def test_a_time_out_of_range_is_refused_by_line(tmp_path: Path, said: str) -> None:
    file = write(tmp_path, "a.jsonl", f'{{"timestamp": 0}}\n{{"timestamp": {said}}}\n')
    with pytest.raises(WorkloadError, match=r"a\.jsonl:2: timestamp is ") as refused:
        Trace(path=file).arrivals(10.0, rng())
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("row", ["1e999,1,1", "0,1e999,1", "0,1,1e999", "1e300,1,1", "0,nan,1", "0,1,inf"])
def test_a_rate_out_of_range_is_refused_by_line(tmp_path: Path, row: str) -> None:
    file = write(tmp_path, "r.csv", f"time_s,rate_per_s,mean_client_cv\n{row}\n")
    with pytest.raises(WorkloadError, match=r"r\.csv:2: (time_s|rate_per_s|mean_client_cv) is "):
        Rates(path=file).arrivals(10.0, rng())


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"a\.csv:1: has the column 'timestamp' twice"):
        Trace(path=write(tmp_path, "a.csv", "timestamp,timestamp\n1,2\n")).arrivals(10.0, rng())


@given(content=st.one_of(st.binary(), st.text('0123456789.,-+:eE{}[]"timestamp \n\r\ufeff').map(str.encode)))
@search(150)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_any_bytes_are_a_trace_or_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    for made, start in ((content, b""), (content, b"timestamp\n0\n1\n"), (content, b'{"timestamp": 0}\n')):
        (tmp_path / name).write_bytes(start + made)
        times, told = np.zeros(0), "a."
        try:
            times = Trace(path=tmp_path / name).arrivals(10.0, rng())
        except WorkloadError as refused:
            told = str(refused)
        assert "a." in told or "bring" in told
        assert ((times >= 0.0) & (times < 10.0)).all()


ROW = st.fixed_dictionaries({"timestamp": st.one_of(st.integers(), st.floats(), st.text(), st.datetimes().map(str))})


@given(rows=st.lists(ROW, max_size=8), unit=st.sampled_from([None, *TimeUnit]), rate=st.sampled_from([None, 3.0]))
@search(150)
def test_any_times_are_a_trace_or_one_clear_error(
    tmp_path: Path, rows: list[dict[str, object]], unit: TimeUnit | None, rate: float | None
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    times, told = np.zeros(0), "a."
    try:
        times = Trace(path=tmp_path / "a.jsonl", unit=unit, rate=rate).arrivals(10.0, rng())
    except WorkloadError as refused:
        told = str(refused)
    assert "a." in told or "bring" in told
    assert ((times >= 0.0) & (times < 10.0)).all()
