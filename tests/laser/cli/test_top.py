"""`laser top`: one frame, live in a terminal, what it says when there is nothing to see, and how it goes on."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from controller.serving.request import ExitReason
from controller.serving.status import RunningRequest, Stage
from laser.cli.main import main
from laser.cli.terminal.chart import Band, Series, chart
from laser.cli.terminal.feed import Connection, Feed, Look
from laser.cli.terminal.frame import Frame, whole_width
from laser.cli.terminal.legend import VIEW
from laser.cli.terminal.words import EXITS, sentence, why_ended
from laser.server.config import ServeConfig
from laser.server.controller_report import LimitsReport
from laser.server.dashboard.schema import Status
from tests.support.live_server import WAIT_S, LiveServer, running, wait_until
from tests.support.statuses import ACCOUNT, CONTROLLER, GAINED, ended, made_status
from tests.support.terminals import read_until, terminal

SECRET = "a-key-for-top"


def top(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["top", *arguments])


def drawn(status: Status, width: int, height: int | None = None) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO())
    look = Look(status=status, connection=Connection.LIVE)
    options = console.options if height is None else console.options.update(height=height)
    return [
        "".join(each.text for each in line).rstrip()
        for line in console.render_lines(Frame(look=look, url="u"), options)
    ]


# --- the frame


def test_one_frame_tells_the_policy_and_why_thoughts_stopped(confident: LiveServer) -> None:
    assert confident.post(max_tokens=400).status_code == 200
    wait_until(lambda: "were sure" in top("--url", confident.url).output)  # it looks at itself once a second
    result = top("--url", confident.url, "--once")
    assert result.exit_code == 0, result.output
    assert "policy fixed" in result.output
    assert "Thoughts are closed once they are 0.90 sure" in result.output
    assert "sure: 0.97 ≥ 0.90" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("width", [24, 40, 63, 64, 80, 109, 110, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    lines = drawn(made_status(), width)
    assert max(map(len, lines)) <= width
    assert any("sure" in line for line in lines)


def test_nothing_is_cut_where_the_output_is_no_terminal() -> None:
    status = made_status(gained=GAINED)
    limits = dict.fromkeys(("easy", "medium", "hard"), LimitsReport(threshold=0.9, budget=None))
    points = [point.model_copy(update={"limits": limits}) for point in status.history]
    problems = ["a settings file … that is broken, " * 6]
    status = status.model_copy(update={"history": points, "problems": problems})
    frame = Frame(look=Look(status=status, connection=Connection.ONCE), url="http://a-machine-of-ours.example:8000")
    console = Console(width=80, file=io.StringIO())
    assert any("…" in line and "━" in line for line in drawn(status, 80))  # a legend over a chart
    width = whole_width(frame, console)
    text = "\n".join(drawn(status, width))
    assert text.count("…") == 6
    assert "━ estimate ░ ± σ · counted" in text
    assert width < 200


@pytest.mark.parametrize("height", [10, 24, 34, 60])
@pytest.mark.parametrize("width", [50, 80, 130])
def test_a_frame_is_no_higher_than_the_terminal(width: int, height: int) -> None:
    console = Console(width=width, height=height)
    frame = Frame(look=Look(status=made_status(gained=GAINED), connection=Connection.LIVE), url="u")
    options = console.options.update(height=height)
    segments = list(console.render(frame, options))
    lines = "".join(segment.text for segment in segments).rstrip("\n").split("\n")
    assert len(lines) <= max(height, 14)


def test_a_frame_begins_with_what_is_done_and_what_was_saved() -> None:
    _, sentence, full, fixed, *_ = drawn(made_status(gained=GAINED), 170)
    assert sentence.startswith("0 thoughts run, none waits.")
    assert full == (
        "Estimated over 120 replies, against full thought: 12,300 tokens saved, 29 % (95 % sure: 11,100 to 13,600 "
        "tokens), and 41.2 s of decoding (37.1 to 45.3 s)"
    )
    assert "against a fixed threshold of 0.95: -99 tokens saved, -1 % (95 % sure: -1,300 to 1,100 tokens)" in fixed
    assert not any("Estimated over" in line for line in drawn(made_status(), 150))


def test_every_figure_and_column_is_explained_and_nothing_else() -> None:
    accounted = CONTROLLER.model_copy(update={"risk": ACCOUNT})
    text = "\n".join(drawn(made_status(gained=GAINED, controller=accounted), 150, 60))
    assert "Risk 1.72% of 2.00%" in text
    assert "1.10 of 2.00 saved, price 0.45" in text
    assert "Risk" not in "\n".join(drawn(made_status(gained=GAINED), 150, 60))
    for name in VIEW:
        assert re.search(rf"(^| ){re.escape(name)}( |$)", text, re.MULTILINE), name
    headings = [line for line in drawn(made_status(), 120, 60) if re.match(r"(Class|No\.) ", line)]
    assert len(headings) == 2
    for line in headings:
        for name in re.split(r" {2,}", line.strip()):
            assert name in VIEW
    explained = "\n".join(drawn(made_status(), 150))
    assert all(meaning[:40] in explained for meaning in VIEW.values())


def test_slos_are_told_by_class() -> None:
    status = made_status()
    assert status.latency.slo["easy"].within == pytest.approx(20 / 30)
    assert any("easy" in line and "2 s" in line and "67 % of 30" in line for line in drawn(status, 100))


@pytest.mark.parametrize("reason", list(ExitReason))
def test_every_reason_has_its_words(reason: ExitReason) -> None:
    one = replace(ended(1, 1.0, total_s=1.0), exit_reason=reason, confidence=0.9, threshold=0.8, budget=5)
    assert reason in EXITS
    assert why_ended(one) != why_ended(replace(one, exit_reason=None))


@pytest.mark.parametrize(
    ("stage", "probing", "said"),
    [(Stage.WAITING, False, "waits"), (Stage.THINKING, False, "not probed"), (Stage.THINKING, True, "not asked yet")],
)
def test_a_thought_without_confidence_tells_why(stage: Stage, probing: bool, said: str) -> None:
    one = RunningRequest(
        number=1, difficulty=None, stage=stage, age_s=1.0, tokens=0, thought_tokens=0, probes=0, confidence=None,
        threshold=None, budget=None, probing=probing,
    )  # fmt: skip
    assert any(said in line for line in drawn(made_status().model_copy(update={"running": [one]}), 120))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"agree": 2}, "closed once their probes agree"),
        ({"margin": 6.0}, "closed once they are nearly at their end"),
        ({}, "are not probed now"),
        ({"skip": 0.9}, "are not probed now; prompts that need none are answered at once"),
    ],
)
def test_the_sentence_tells_what_closes_thoughts(limits: dict[str, float], said: str) -> None:
    report = CONTROLLER.model_copy(update={"limits": {"any": LimitsReport(threshold=None, budget=None, **limits)}})  # type: ignore[arg-type]
    assert said in sentence(made_status().model_copy(update={"controller": report}))


def test_a_server_s_words_cannot_change_the_terminal() -> None:
    status = made_status().model_copy(update={"model": "m\x1b[2J\x07", "problems": ["it\r\nbroke\x1b]0;x\x07"]})
    assert "\x1b" not in "".join(drawn(status, 100))
    assert "\x07" not in "".join(drawn(status, 100))


def test_a_chart_shows_the_newest_values_and_their_band() -> None:
    line = Series(values=[0.0, 5.0, 10.0], style="")
    band = Band(low=[None, 0.0, 0.0], high=[None, 5.0, 10.0], style="")
    rows = chart([line], width=8, height=3, low=0.0, high=10.0, band=band).plain.split("\n")
    assert rows == ["10.0   ━", "      ━░", " 0.0 ━░░"]


# --- what goes wrong


@pytest.fixture(scope="module")
def locked(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that wants a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.yaml"
    keys.write_text(f"keys:\n  - {{name: app, key: {SECRET}}}\n")
    with running(ServeConfig(model=random_model, name="locked", keys=keys)) as live:
        yield live


def test_a_server_that_wants_a_key_is_told_so_and_takes_one(locked: LiveServer) -> None:
    without = top("--url", locked.url)
    assert without.exit_code == 1
    assert without.output == f"Error: {locked.url} wants a key: give it with --key or in LASER_KEY\n"
    wrong = top("--url", locked.url, "--key", "wrong")
    assert wrong.output == f"Error: {locked.url} does not take this key: the key is not known here\n"
    assert "must be visible ASCII" in top("--url", locked.url, "--key", "ключ").output
    assert "policy fixed" in top("--url", locked.url, "--key", SECRET).output
    assert "policy fixed" in CliRunner(env={"LASER_KEY": SECRET}).invoke(main, ["top", "--url", locked.url]).output


def test_no_server_and_no_url_are_told() -> None:
    assert top("--url", "http://127.0.0.1:9").output.startswith("Error: no server answers at http://127.0.0.1:9;")
    assert "is not a URL that begins with http://" in top("--url", "localhost:8000").output
    assert "is not a URL" in top("--url", "http://a:b").output


def answer(status: str, body: str, *, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
    return (head + body).encode()


class Another:
    """A server whose answers are made: by path, the last one again and again."""

    def __init__(self, **answers: list[bytes]) -> None:
        self.answers = answers
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._one, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield f"http://127.0.0.1:{self.port}"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().removeprefix("/laser/")
        answers = self.answers[asked]
        writer.write(answers.pop(0) if len(answers) > 1 else answers[0])
        await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer("404 Not Found", "{}"), "is no LASER server: /laser/status answered 404"),
        (answer("200 OK", "<html>"), "is no LASER server of this version: its status cannot be read: Invalid JSON"),
        (answer("200 OK", '{"number": 1}'), "cannot be read at at_s: Field required"),
        (answer("503 Service Unavailable", '{"error": {"message": "it ends"}}'), "answered 503: it ends"),
    ],
)
def test_what_is_not_a_laser_server_is_told(given: bytes, said: str) -> None:
    async def look() -> None:
        async with Another(status=[given]).serving() as url:
            await Feed(url).status()

    with pytest.raises(Exception, match=said):
        asyncio.run(look())


def test_where_events_break_off_the_status_is_asked_for_until_they_come_again() -> None:
    data = made_status().model_dump_json()
    events = answer("200 OK", f"data: {data}\n\n", kind="text/event-stream")
    another = Another(status=[answer("200 OK", data)], events=[events, answer("502 Bad Gateway", "gone"), events])
    seen: list[Look] = []

    async def until(connection: Connection, looks: AsyncIterator[Look]) -> None:
        async for look in looks:
            seen.append(look)
            if look.connection is connection:
                return

    async def follow() -> None:
        async with another.serving() as url:
            looks = Feed(url, every_s=0.01, tries_s=(0.05,)).looks()
            await until(Connection.LIVE, looks)
            await until(Connection.POLLING, looks)
            assert seen[-1].why == "the server has ended its events"
            await until(Connection.LIVE, looks)
            assert any(look.why is not None and look.why.endswith("answered 502: gone") for look in seen)
        await until(Connection.LOST, looks)
        assert str(seen[-1].why).startswith("no server answers at")
        assert seen[-1].status == made_status()
        async with another.serving():
            await until(Connection.LIVE, looks)
        await looks.aclose()

    asyncio.run(asyncio.wait_for(follow(), WAIT_S))


def test_news_are_joined_to_what_was_seen(confident: LiveServer) -> None:
    async def three() -> Status:
        looks = Feed(confident.url).looks()
        live = 0
        async for look in looks:
            live += look.connection is Connection.LIVE
            if live == 3:
                break
        await looks.aclose()
        return look.status

    history = asyncio.run(asyncio.wait_for(three(), WAIT_S)).history
    times = [point.at_s for point in history]
    assert len(times) >= 3
    assert times == sorted(set(times))


# --- in a terminal


@pytest.mark.slow
@pytest.mark.parametrize("how", ["q", "ctrl-c", "sigterm"])
def test_in_a_terminal_it_lives_until_it_is_told_to_end_and_leaves_all_as_it_was(
    confident: LiveServer, how: str
) -> None:
    with terminal("top", "--url", confident.url) as (process, ours, its):
        before = termios.tcgetattr(its)
        shown = read_until(ours, "Why the last ones stopped")
        assert "\x1b[?1049h" in shown  # the other screen, so that nothing of this stays
        assert termios.tcgetattr(its) != before
        os.write(ours, b"h")
        read_until(ours, VIEW["In the system"])
        os.write(ours, b"h")
        read_until(ours, "Why the last ones stopped")
        if how == "q":
            os.write(ours, b"q")
        else:
            process.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        rest = read_until(ours, "\x1b[?1049l")
        assert process.wait(WAIT_S) == 0
        assert "Traceback" not in rest
        assert termios.tcgetattr(its) == before


@pytest.mark.slow
def test_a_server_that_is_not_there_leaves_the_terminal_alone() -> None:
    with terminal("top", "--url", "http://127.0.0.1:9") as (process, ours, _):
        shown = read_until(ours, "start one with")
        assert process.wait(WAIT_S) == 1
        assert "\x1b[?1049h" not in shown
