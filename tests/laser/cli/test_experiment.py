"""`laser experiment` end to end: a live run that is killed and goes on, its report, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result

from experiments.evaluation.questions import bundled_questions
from experiments.request_record import RequestRecord
from experiments.trials.live import drive
from experiments.trials.trial import Requests
from laser.cli.main import main
from laser.server_process import ServerError, serving
from tests.support.live_server import LiveServer, save_confident_model, save_random_model

pytestmark = pytest.mark.slow

DEADLINE_S = 120.0
EXPERIMENT = """\
seeds: [1]
duration_s: 3
questions: [mine.jsonl]
max_tokens: 320
workloads:
  - name: steady
    arrivals: {kind: poisson, rate: 5}
policies:
  - {name: full, policy: none}
  - {name: sure, policy: fixed, threshold: 0.9}
baseline: full
full_thought: full
"""


def experiment(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["experiment", *map(str, arguments)])


def written(directory: Path, model: Path, text: str = EXPERIMENT) -> Path:
    """An experiment on a model and questions of one's own."""
    file = directory / "try.yaml"
    asked = [
        {"question": f"What is {n} + 1?", "answer": str(n + 1), "benchmark": ("odd", "even")[n % 2]} for n in range(20)
    ]
    (directory / "mine.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    file.write_text(f"model: {model}\n{text}", encoding="utf-8")
    return file


def lines(file: Path) -> list[dict[str, Any]]:
    """A trial's requests."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


@dataclass(frozen=True)
class Ran:
    """An experiment that was killed in its second trial and then went on."""

    file: Path
    out: Path
    before: dict[str, bytes]  # the files when it had been killed
    result: Result


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    directory = tmp_path_factory.mktemp("experiment")
    model = directory / "confident"
    model.mkdir()
    file, out = written(directory, save_confident_model(model)), directory / "out"
    command = [sys.executable, "-m", "laser", "experiment", "run", str(file), "--out", str(out)]
    draft = out / "steady-sure-1.jsonl.draft"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not (draft.exists() and draft.read_bytes().count(b"\n") > 2):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "the second trial has not begun"
            time.sleep(0.02)
        servers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(servers, timeout=60.0)
    assert servers
    assert not alive  # no server outlives the run that started it
    before = {one.name: one.read_bytes() for one in out.iterdir()}
    return Ran(file=file, out=out, before=before, result=experiment("run", file, "--out", out))


def test_a_killed_run_goes_on_and_nothing_is_lost_or_doubled(ran: Ran) -> None:
    assert ran.result.exit_code == 0, ran.result.output
    assert "By default: backend live; slo_s 10 s (easy), 10 s (medium), 10 s (hard)" in ran.result.output
    assert {*ran.before} == {".lock", "steady-full-1.jsonl", "steady-sure-1.jsonl.draft"}
    assert {one.name for one in ran.out.iterdir()} == {".lock", "steady-full-1.jsonl", "steady-sure-1.jsonl"}
    assert (ran.out / "steady-full-1.jsonl").read_bytes() == ran.before["steady-full-1.jsonl"]
    for policy in ("full", "sure"):
        numbers = [one["number"] for one in lines(ran.out / f"steady-{policy}-1.jsonl")]
        assert sorted(numbers) == list(range(len(numbers)))
        assert len(numbers) > 5


def test_a_complete_experiment_has_nothing_left_to_run(ran: Ran) -> None:
    before = {one.name: one.stat().st_mtime_ns for one in ran.out.iterdir() if one.suffix == ".jsonl"}
    assert experiment("run", ran.file, "--out", ran.out).exit_code == 0
    assert {one.name: one.stat().st_mtime_ns for one in ran.out.iterdir() if one.suffix == ".jsonl"} == before


def test_both_policies_got_the_same_questions_at_the_same_times(ran: Ran) -> None:
    asked = [
        sorted((one["at_s"], one["question"], one["benchmark"]) for one in lines(ran.out / f"steady-{policy}-1.jsonl"))
        for policy in ("full", "sure")
    ]
    assert asked[0] == asked[1]


def test_the_policies_did_what_they_are_for(ran: Ran) -> None:
    for one in lines(ran.out / "steady-full-1.jsonl"):
        assert one["error"] is None
        assert (one["exit_reason"], one["probes"], one["threshold"]) == ("budget", 0, None)  # it would think for ever
    for one in lines(ran.out / "steady-sure-1.jsonl"):
        assert (one["exit_reason"], one["probes"], one["threshold"]) == ("confidence", 1, 0.9)
        assert one["rows"] >= one["completion_tokens"] + one["probe_rows"]
        assert 0.0 < one["first_answer_s"] <= one["latency_s"]


def test_the_report_agrees_with_the_records(ran: Ran) -> None:
    told = experiment("report", ran.file, "--out", ran.out)
    assert told.exit_code == 0, told.output
    assert "2 of 2 trials" in told.output
    found = json.loads((ran.out / "report.json").read_text(encoding="utf-8"))["workloads"]["steady"]
    means = {}
    for policy in ("full", "sure"):
        records = lines(ran.out / f"steady-{policy}-1.jsonl")
        latencies = [one["latency_s"] for one in records]
        means[policy] = float(np.mean(latencies))
        outcome = found["policies"][policy]["outcome"]
        assert outcome["requests"] == len(records)
        assert outcome["latency"]["mean"] == pytest.approx(means[policy])
        assert outcome["latency"]["p95"] == pytest.approx(np.percentile(latencies, 95))
        assert outcome["first_answer"]["p50"] == pytest.approx(np.median([one["first_answer_s"] for one in records]))
        assert outcome["tokens"] == pytest.approx(np.mean([one["rows"] for one in records]))
        assert outcome["accuracy"]["share"] == pytest.approx(np.mean([one["right"] for one in records]))
        assert sum(one["count"] for one in outcome["benchmarks"].values()) == len(records)
    change = found["policies"]["sure"]["against"]["full"]["latency"]
    assert change["value"] == pytest.approx(means["sure"] / means["full"] - 1.0)
    assert change["low"] <= change["value"] <= change["high"]
    assert found["best_constant"] in ("full", "sure")
    assert set(found["policies"]["full"]["outcome"]["benchmarks"]) == {"odd", "even"}
    markdown, page = ((ran.out / f"report.{ending}").read_text(encoding="utf-8") for ending in ("md", "html"))
    row = next(line for line in markdown.splitlines() if line.startswith("| sure"))
    assert f"| {means['sure']:.2f} |" in row
    assert "- **engine**: torch on the CPU, 1 thread, at most 32 at once" in markdown
    assert "- **profile**: none" in markdown
    assert (ran.out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert f"<td>{means['sure']:.2f}</td>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_a_changed_experiment_does_not_mix_with_old_results(ran: Ran) -> None:
    changed = ran.file.with_name("changed.yaml")
    changed.write_text(ran.file.read_text(encoding="utf-8").replace("max_tokens: 320", "max_tokens: 324"))
    for what in ("run", "report"):
        told = experiment(what, changed, "--out", ran.out)
        assert told.exit_code == 1
        assert "was run with max_tokens 320, the experiment has 324: remove it or write elsewhere" in told.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (EXPERIMENT.replace("rate: 5", "rates: 5"), "try.yaml:8:31: unknown key `workloads[0].arrivals.rates`"),
        (EXPERIMENT.replace("policy: none", "policy: load-aware"), "try.yaml:10:5: policy 'full' needs a profile"),
        (EXPERIMENT.replace("name: full", "name: sure!").replace(": full", ": sure!"), "sure-1.jsonl: rename one"),
        (EXPERIMENT + "rates: capacity\n", "shares of the capacity, which needs a profile"),
        (EXPERIMENT.replace("rate: 5", "rate: 5.0e+9"), "must be at most 10000000"),
    ],
)
def test_what_cannot_be_run_is_told_at_once(tmp_path: Path, text: str, told: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    result = experiment("run", written(tmp_path, save_random_model(model), text), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_report_needs_a_policy_that_has_been_run(ran: Ran, tmp_path: Path) -> None:
    assert "does not exist; `laser experiment run" in experiment("report", ran.file, "--out", tmp_path / "no").output
    assert "0 of 2 trials are complete" in experiment("report", ran.file, "--out", tmp_path).output


# --- the driver


def driven(server: LiveServer, *, max_tokens: int) -> list[RequestRecord]:
    questions = bundled_questions(2, seed=5)
    records: list[RequestRecord] = []
    requests = Requests(times=np.array([0.0, 0.01, 0.05, 0.3]), questions=np.array([3, 0, 3, 5]))
    asyncio.run(drive(server.url, questions, requests, max_tokens, records.append))
    return sorted(records, key=lambda record: record.number)


def test_every_request_is_recorded_as_the_server_told_it(confident: LiveServer) -> None:
    found = driven(confident, max_tokens=320)
    assert [(one.number, one.question, one.at_s) for one in found] == [
        (0, 3, 0.0),
        (1, 0, 0.01),
        (2, 3, 0.05),
        (3, 5, 0.3),
    ]
    for one in found:
        assert one.error is None
        assert one.right is not None
        assert (one.exit_reason, one.threshold) == ("confidence", 0.9)
        assert one.thought_tokens < one.completion_tokens <= one.rows
        assert one.first_answer_s is not None
        assert 0.0 < one.first_answer_s <= one.latency_s


def test_a_server_that_refuses_already_the_first_request_is_told(confident: LiveServer) -> None:
    with pytest.raises(ServerError, match=r"laser serve does not answer: 400: .*max_tokens is 1000000000, must be at"):
        driven(confident, max_tokens=10**9)


def test_a_request_that_fails_when_served_is_recorded_with_its_error() -> None:
    async def failing() -> list[RequestRecord]:
        """A server that answers once, then breaks off, refuses, and sends an error in mid-stream."""
        count = 0
        details = {"reasoning_tokens": 0, "probe_tokens": 0}
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4, "completion_tokens_details": details}
        end = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"
        bodies = [end, 'data: {"choices": []}\n\n', None, 'data: {"error": {"message": "out of luck"}}\n\n', end]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
            await reader.readexactly(length)
            body = bodies[count]
            count += 1
            status = "200 OK" if body is not None else "429 Too Many Requests"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".encode())
            writer.write((body or "later").encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        records: list[RequestRecord] = []
        requests = Requests(times=np.array([0.0, 0.3, 0.6, 0.9]), questions=np.array([0, 1, 2, 3]))
        async with server:
            await drive(f"http://127.0.0.1:{port}", bundled_questions(1, seed=5), requests, 40, records.append)
        return sorted(records, key=lambda record: record.number)

    broken, refused, unlucky, fine = asyncio.run(failing())
    assert broken.error == "ReplyError: the stream broke off before its end"
    assert refused.error == "ReplyError: 429: later"
    assert unlucky.error == "ReplyError: out of luck"
    assert [one.right for one in (broken, refused, unlucky)] == [None] * 3
    assert (fine.error, fine.right, fine.completion_tokens) == (None, False, 3)


def test_a_server_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("model: nowhere\nport: 0\n")

    async def start() -> None:
        async with serving(["serve", "--config", str(config)], tmp_path / "log"):
            raise AssertionError("it has started")

    with pytest.raises(
        ServerError, match=r"laser serve did not start: Error: .*nowhere: is neither a path that exists nor"
    ):
        asyncio.run(start())
