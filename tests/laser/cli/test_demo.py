"""`laser demo`: what it asks, what it measures, and that its server ends with it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from experiments.request_record import RequestRecord
from laser.cli.main import main
from laser.cli.terminal.demo_speed import expected_s
from laser.cli.terminal.demo_summary import failures, meaning, show, table
from laser.cli.terminal.demo_traffic import FACTOR, Demo, DemoTraffic
from laser.cli.terminal.feed import Connection, Look
from models.profile.plant import StepTime
from tests.support.live_server import LiveServer, wait_until
from tests.support.statuses import GAINED, made_status

pytestmark = pytest.mark.slow

TRAFFIC = DemoTraffic(rate=2.0, total_s=60.0, seed=3)


def record(number: int, at_s: float, latency_s: float, *, right: bool | None = True) -> RequestRecord:
    return RequestRecord(
        number=number, question=0, benchmark="sums", split=None, difficulty="easy", at_s=at_s, queue_s=0.0,
        first_answer_s=None, latency_s=latency_s, thought_tokens=100, completion_tokens=120, rows=130, probes=1,
        probe_rows=10, exit_reason="natural", threshold=0.9, budget=None, right=right,
        error=None if right is not None else "ReplyError: 429: later",
    )  # fmt: skip


def test_the_burst_is_in_the_middle_third_and_the_same_for_the_same_seed() -> None:
    _, requests = TRAFFIC.draw()
    counts = np.histogram(requests.times, bins=[0.0, 20.0, 40.0, 60.0])[0]
    assert counts[1] > 0.6 * FACTOR * max(counts[0], counts[2])
    again = DemoTraffic(rate=2.0, total_s=60.0, seed=3).draw()
    assert np.array_equal(again[1].times, requests.times)
    assert np.array_equal(again[1].questions, requests.questions)
    assert [phase.name for at_s in (0.0, 20.0, 59.0) if (phase := TRAFFIC.phase(at_s))] == [
        "calm before",
        "burst",
        "calm after",
    ]
    assert TRAFFIC.phase(60.0) is None


def test_what_was_measured_is_told_by_phase() -> None:
    now = 0.0
    demo = Demo(TRAFFIC, clock=lambda: now)
    status, looks = made_status(gained=GAINED), ((5.0, 0.99), (25.0, 0.9), (30.0, None), (45.0, 0.8))
    demo.records += [record(0, 1.0, 1.0), record(1, 21.0, 2.0, right=False), record(2, 22.0, 4.0), record(3, 50.0, 9.0)]
    demo.records.append(record(4, 51.0, 9.0, right=None))
    demo.asked = 7
    demo._begin()
    for at_s, threshold in looks:
        now = at_s
        limits = {"any": status.controller.limits["any"].model_copy(update={"threshold": threshold})}
        controller = status.controller.model_copy(update={"limits": limits})
        demo.saw(Look(status=status.model_copy(update={"controller": controller}), connection=Connection.LIVE))
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table(demo))
    head, *rows = (re.split(r" {2,}", line.strip()) for line in capture.get().splitlines())
    assert head == ["calm before", "burst", "calm after", "all"]
    told = {name: cells for name, *cells in rows}
    assert told["requests"] == ["1", "2", "2", "5"]
    assert told["mean latency"] == ["1.00 s", "3.00 s", "9.00 s", "4.00 s"]
    assert told["right answers"] == ["100 %", "50 %", "100 %", "75 %"]
    assert told["threshold, any"] == ["0.99", "0.90 to never", "0.80", "0.80 to never"]
    with console.capture() as capture:
        show(demo, console)
    said = " ".join(capture.get().split())
    assert said.startswith(
        "1 failed, the last: ReplyError: 429: later; 2 of 7 requests had not been answered. What follows is of the "
        "others alone. In the burst, with 5 times the requests, thoughts were as long as in the calm before; a reply "
        "took 3.00 s in place of 1.00 s. 50 % of the answers in the burst were right, 100 % before. "
        "Estimated over 120 replies, against full thought: 12,300 tokens saved"
    )
    for name in ("mean latency", "right answers", "95 % below", "threshold"):
        assert said.count(name) >= 2  # in the table, and explained under it
    assert meaning(Demo(TRAFFIC)).startswith("It ended before")
    assert failures(demo) == ("1 failed, the last: ReplyError: 429: later; 2 of 7 requests had not been answered")


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`laser demo` without a terminal, and the dashboard's address."""
    line = [sys.executable, "-m", "laser", "demo", *arguments]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it: heritable
    started = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            found = re.fullmatch(
                r"The dashboard, while this runs: (http://127\.0\.0\.1:\d+)/\n", process.stdout.readline()
            )
            assert found, process.stderr.read() if process.stderr else ""
            yield process, found[1]
        finally:
            process.kill()


def gone(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", trust_env=False)
    except httpx.TransportError:
        return True
    return False


def test_a_short_demo_shows_itself_and_sums_up_what_it_measured() -> None:
    with demo("--seconds", "7") as (process, url):
        assert "policy" in CliRunner().invoke(main, ["top", "--url", url]).output
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert errors == ""
    for name in ("calm before", "burst", "calm after"):
        assert f"demo: {name}" in output
    (requests,) = re.findall(r"^requests .* (\d+)\s*$", output, re.MULTILINE)
    assert int(requests) > 0  # the slower the machine, the fewer come
    assert re.search(r"^(In the burst, with 5 times the|It ended before there were replies)", output, re.MULTILINE)
    assert re.search(r"^Estimated over \d+ replies, against full thought: [\d,]+ tokens saved", output, re.MULTILINE)
    for name in ("mean latency", "95 % below", "right answers", "thought tokens", "threshold, hard"):
        assert name in output
    assert "failed" not in output
    assert gone(url)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_its_server_ends_with_it_however_that_ends(number: signal.Signals) -> None:
    with demo() as (process, url):
        assert not gone(url)
        process.send_signal(number)
        process.wait(30)
        wait_until(lambda: gone(url), 30)


def test_a_taken_port_is_told_in_the_server_s_words(confident: LiveServer) -> None:
    result = CliRunner().invoke(main, ["demo", "--port", confident.url.rsplit(":", 1)[1]])
    assert result.exit_code == 1
    assert "laser serve did not start: Error: cannot listen on 127.0.0.1 port" in result.output


def test_replies_begun_at_once_take_their_steps_times_by_how_many_still_run() -> None:
    step = StepTime(a=1.0, c=0.5, g=0.0)
    assert expected_s([3, 1], step, 0.0) == pytest.approx(2.0 + 1.5 + 1.5)  # two, then one, then one
    assert expected_s([], step, 0.0) == 0.0
