"""A server that a signal ends while it starts ends in order, as a running one does."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from laser.cli.common.ending import ended_by_signals
from tests.support.processes import ENVIRONMENT

ENDS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets asyncio speak in the tests that follow: a signal silences it until the process ends."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", False)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_start_as_done(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    before = [signal.getsignal(each) for each in ENDS]
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended, ended_by_signals():
        signal.raise_signal(number)
    assert ended.value.code == 0
    assert caplog.messages == [f"{number.name} has ended the server before it was ready"]
    assert [signal.getsignal(each) for each in ENDS] == before


def swallowed() -> None:
    with ended_by_signals() as end_if_told:
        end_if_told()  # none has come
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        end_if_told()


def changed() -> None:
    with ended_by_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as error:
            raise ImportError("it could not be loaded") from error


@pytest.mark.parametrize("start", [swallowed, changed])
def test_a_signal_ends_a_start_whatever_libraries_make_of_its_exception(start: Callable[[], None]) -> None:
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 0


def test_a_task_that_a_signal_cuts_off_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def cut_off() -> None:
        signal.raise_signal(signal.SIGTERM)

    async def start() -> None:
        task = asyncio.create_task(cut_off())
        await asyncio.sleep(10)
        await task

    with pytest.raises(SystemExit), ended_by_signals():
        asyncio.run(start())
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_without_a_signal_an_error_stays_what_it_is() -> None:
    with pytest.raises(ImportError, match="missing"), ended_by_signals():
        raise ImportError("missing")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behind", "wait_s"),
    [("loading ", 0.0), ("loading ", 1.0), ("certified ", 0.0), ("certified ", 0.1), ("certified ", 0.3)],
)
def test_a_server_ends_at_any_moment_of_its_start(behind: str, wait_s: float) -> None:
    line = [sys.executable, "-m", "laser", "serve", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        told = next(said for said in process.stderr if f"laser.start: {behind}" in said)
        time.sleep(wait_s)
        process.terminate()
        try:
            assert process.wait(20) == 0, told
            rest = process.stderr.read()
            assert "Traceback" not in rest, rest
        finally:
            process.kill()
