"""What a server shows of itself: the record, the status and its events, the page, and probes in a stream."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib.resources import files

import httpx
import pytest

from controller.serving.request import ExitReason
from controller.serving.status import LoopStatus
from engine.base import FinishReason
from laser.server.dashboard.history import TOLD, WINDOW_S, StatusHistory
from laser.server.dashboard.latency import latency, slos
from laser.server.dashboard.monitor import Monitor
from laser.server.dashboard.schema import Status
from laser.server.engine_process.tickets import EngineFailure
from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, chat, wait_until
from tests.support.statuses import CONTROLLER, GAINED, ended, loop_status


def told(history: StatusHistory, since: int = 0) -> Status:
    status = history.status(since)
    assert status is not None
    return status


def test_nothing_is_told_before_anything_was_seen() -> None:
    assert StatusHistory(model="m").status() is None


def test_what_is_new_since_a_look_is_told_once() -> None:
    history = StatusHistory(model="m")
    first, second = ended(1, 100.5), ended(2, 101.5)
    history.add(loop_status(101.0, arrived=1, finished=1, last=(first,)), CONTROLLER)
    history.add(loop_status(102.0, arrived=2, finished=2, last=(first, second)), CONTROLLER)
    assert [each.number for each in told(history).ended] == [1, 2]
    assert [point.at_s for point in told(history).history] == [0.0, 1.0]
    news = told(history, since=1)
    assert [(each.number, each.at_s) for each in news.ended] == [(2, 0.5)]
    assert [point.at_s for point in news.history] == [1.0]
    assert told(history, since=2).ended == []


def test_the_record_is_bounded_in_time_and_number() -> None:
    history = StatusHistory(model="m")
    for second in range(2 * int(WINDOW_S)):
        last = tuple(ended(30 * second + i, float(second)) for i in range(30))
        history.add(loop_status(float(second), finished=30 * (second + 1), last=last), CONTROLLER)
    status = told(history)
    assert status.history[0].at_s == status.at_s - WINDOW_S
    assert len(status.ended) == TOLD
    assert status.latency.requests <= 30 * (WINDOW_S + 1)


def test_arrivals_are_counted_over_the_last_seconds() -> None:
    history = StatusHistory(model="m")
    for second, arrived in enumerate([0, *[4] * 5, *range(4, 44, 2)]):
        history.add(loop_status(float(second), arrived=arrived), CONTROLLER)
    rates = [point.counted_rate for point in told(history).history]
    assert rates[1] == 4.0
    assert rates[-1] == 2.0


def test_failed_requests_are_late_whatever_their_time() -> None:
    four = [ended(1, 0.0, 1.0), ended(2, 0.0, 2.0), ended(3, 0.0, 9.0), ended(4, 0.0, 0.1, FinishReason.ERROR)]
    found = latency(four, {"any": 2.0})
    assert (found.requests, found.failed, found.within_slo) == (4, 1, 0.5)
    assert found.mean_s == 4.0
    assert found.exits == {"confidence": 3}
    assert latency(four, {}).within_slo is None
    assert latency([], {"any": 2.0}).mean_s is None


def test_each_class_is_held_against_its_own_slo() -> None:
    took = [("hard", 3.0), ("easy", 0.5), ("easy", 3.0), ("hard", 9.0), ("hard", 1.0)]
    ones = [ended(number, 0.0, total_s, difficulty=name) for number, (name, total_s) in enumerate(took)]
    found = latency(ones, {"easy": 1.0, "medium": 2.0, "hard": 4.0})
    assert {name: (each.slo_s, each.requests, each.within) for name, each in found.slo.items()} == {
        "easy": (1.0, 2, 0.5),
        "hard": (4.0, 3, pytest.approx(2 / 3)),
    }
    assert found.within_slo == pytest.approx(3 / 5)
    assert {name: each.within for name, each in latency(ones, {"any": 3.0}).slo.items()} == {
        "easy": 1.0,
        "hard": pytest.approx(2 / 3),
    }


def test_the_controller_s_slos_come_before_the_server_s() -> None:
    steering = CONTROLLER.model_copy(update={"slo_s": {"easy": 1.0, "hard": 4.0}})
    assert slos(steering, 2.0) == {"easy": 1.0, "hard": 4.0}
    assert slos(CONTROLLER, 2.0) == {"any": 2.0}
    assert slos(CONTROLLER, None) == {}


def test_an_engine_that_cannot_be_seen_is_a_problem_until_it_can_again() -> None:
    history = StatusHistory(model="m")
    history.add(loop_status(1.0), CONTROLLER)
    history.missed("the engine has not answered for 5 s")
    assert told(history).problems == ["the engine has not answered for 5 s"]
    history.add(loop_status(9.0), CONTROLLER)
    assert told(history).problems == []


def test_a_monitor_tells_of_an_engine_that_fails_and_of_one_that_hangs() -> None:
    async def watch() -> list[list[str]]:
        looks = iter([0, 1, 2])

        async def look() -> LoopStatus:
            match next(looks, 0):
                case 1:
                    raise EngineFailure("the engine broke")
                case 2:
                    await asyncio.Event().wait()
            return loop_status(1.0)

        monitor = Monitor(
            StatusHistory(model="m"), status=look, controller=lambda: CONTROLLER, every_s=0.01, patience_s=0.05
        )
        monitor.start()
        seen = []
        async for data in monitor.events():
            seen.append(Status.model_validate_json(data.removeprefix(b"data: ")).problems)
            if len(seen) == 4:
                monitor.close()
        return seen

    seen = asyncio.run(asyncio.wait_for(watch(), WAIT_S))
    assert seen == [
        [],
        ["the engine broke"],
        ["the engine has not answered for 0.05 s: a step takes long, or hangs"],
        [],
    ]


def statuses(lines: Iterator[str]) -> Iterator[Status]:
    return (Status.model_validate_json(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def status(server: LiveServer) -> Status:
    response = httpx.get(f"{server.url}/laser/status", trust_env=False, timeout=WAIT_S)
    return Status.model_validate_json(response.raise_for_status().content)


def test_a_stream_tells_of_its_probes_and_the_record_why_its_thought_stopped(confident: LiveServer) -> None:
    before = status(confident).latency.requests
    with httpx.stream(
        "POST",
        f"{confident.url}/v1/chat/completions",
        json=chat(stream=True, max_tokens=400, laser={"probes": True}),
        trust_env=False,
        timeout=WAIT_S,
    ) as response:
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    chunks = [json.loads(data) for data in events if data != "[DONE]"]
    probes = [chunk["laser"]["probe"] for chunk in chunks if "probe" in (chunk.get("laser") or {})]
    assert probes
    assert probes[-1]["answer"] == "7"
    assert probes[-1]["confidence"] >= 0.9
    wait_until(lambda: status(confident).latency.requests > before)
    last = status(confident).ended[-1]
    assert last.exit_reason == ExitReason.CONFIDENCE
    assert last.probes == len(probes)


def test_probes_are_told_only_to_those_who_ask(confident: LiveServer) -> None:
    assert '"probe":' not in confident.post(stream=True, max_tokens=400).text
    whole = confident.post(max_tokens=400, laser={"probes": True}).json()
    assert whole["laser"]["exit_reason"] == "confidence"


def test_what_waits_and_what_thinks_is_told(narrow: LiveServer) -> None:
    async def two() -> None:
        async with httpx.AsyncClient(base_url=narrow.url, trust_env=False, timeout=WAIT_S) as client:
            body = chat(max_tokens=ENDLESS)
            asked = [asyncio.create_task(client.post("/v1/chat/completions", json=body)) for _ in range(2)]
            async with client.stream("GET", "/laser/events") as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        seen = Status.model_validate_json(line.removeprefix("data: "))
                        if sorted(each.stage.value for each in seen.running) == ["thinking", "waiting"]:
                            assert (seen.load.running, seen.load.waiting) == (1, 1)
                            break
            for each in asked:
                each.cancel()

    asyncio.run(asyncio.wait_for(two(), 2 * WAIT_S))
    narrow.wait_for_load(running=0, waiting=0)


def test_events_begin_with_all_and_go_on_with_news(server: LiveServer) -> None:
    with httpx.stream("GET", f"{server.url}/laser/events", trust_env=False, timeout=WAIT_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        seen = statuses(response.iter_lines())
        first, second = next(seen), next(seen)
    assert first.history[-1].at_s == first.at_s
    assert second.number == first.number + 1
    assert [point.at_s for point in second.history] == [second.at_s]


def test_every_column_of_the_page_is_explained_under_a_table() -> None:
    page = (files("laser.server.dashboard") / "page" / "index.html").read_text("utf-8")
    explained = " ".join(re.findall(r'<p class="told">(.*?)</p>', page)).lower()
    columns = re.findall(r"<th [^>]*>([^<]+)</th>", page)
    assert len(columns) == 12
    for word in {word for column in columns for word in column.lower().split(", ")}:
        assert word.removeprefix("of ") in explained, word


def test_a_status_tells_what_was_saved_and_what_the_model_knows() -> None:
    history = StatusHistory(model="m", gained=lambda: GAINED, knows="sums")
    history.add(loop_status(1.0), CONTROLLER)
    status = history.status()
    assert status is not None
    assert Status.model_validate_json(status.model_dump_json()).gained == GAINED
    assert status.knows == "sums"
