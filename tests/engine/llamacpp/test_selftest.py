"""The trial before serving: a crash costs a setting, not the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from engine.base import EngineUnavailableError
from engine.llamacpp import selftest
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.model import LoadSettings
from engine.llamacpp.selftest import REFUSED, fault, safe_loading, tried_apart
from engine.loading import watched
from tests.support.engines import needs_llama
from tests.support.processes import ENVIRONMENT
from tests.support.tiny_ggufs import save_gguf


def crash_if_rearranged(loading: LoadSettings) -> str | None:
    return "died of SIGSEGV" if loading.repack else None


def test_what_works_stays_as_it_is_wanted() -> None:
    assert safe_loading(LoadSettings(), lambda _: None, may_change=True) == (LoadSettings(), "")


def test_weights_whose_rearrangement_crashes_stay_plain_and_it_is_said() -> None:
    loading, note = safe_loading(LoadSettings(gpu_layers=3), crash_if_rearranged, may_change=True)
    assert loading == LoadSettings(gpu_layers=3, repack=False)
    assert note == "the weights are not rearranged for this CPU, since in a trial llama.cpp died of SIGSEGV"


@pytest.mark.parametrize("may_change", [False, True])
def test_what_crashes_in_every_allowed_way_is_refused(may_change: bool) -> None:
    trial = (lambda _: "died of SIGILL") if may_change else crash_if_rearranged
    with pytest.raises(EngineUnavailableError, match=r"cannot decode the model .*: in a trial it died of SIG"):
        safe_loading(LoadSettings(), trial, may_change=may_change)


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (0, "", None),
        (REFUSED, "", None),  # the serving process finds out itself, and raises the error
        (-11, "", "died of SIGSEGV"),
        (1, "a\nits numbers overflowed\n", "failed: its numbers overflowed"),
        (2, "", "failed: code 2"),
    ],
)
def test_what_a_trial_s_end_tells(code: int, said: str, told: str | None) -> None:
    assert fault(code, said) == told


def test_who_waits_for_the_model_hears_of_the_trial_s_begin_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "LIMIT_S", 0.0)
    shares: list[float] = []
    with watched(shares.append):
        assert tried_apart(tmp_path / "model.gguf", LlamaConfig(), LoadSettings()) == "took more than 0 s"
    assert shares == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gemma3", "lfm2"])
def test_a_sound_model_passes_the_trial_in_a_process_of_its_own(architecture: str, tmp_path: Path) -> None:
    needs_llama()
    file = save_gguf(tmp_path / "model.gguf", architecture)
    assert tried_apart(file, LlamaConfig(), LoadSettings()) is None
    file.write_bytes(file.read_bytes()[:2000])
    assert tried_apart(file, LlamaConfig(), LoadSettings()) is None  # told when it is loaded


WAIT_S = 60.0
ASKING = """
import signal, sys
from pathlib import Path
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.model import LoadSettings
from engine.llamacpp.selftest import tried_apart
for number in (signal.SIGINT, signal.SIGTERM):  # as the server's engine process does
    signal.signal(number, signal.SIG_IGN)
print(tried_apart(Path(sys.argv[1]), LlamaConfig(), LoadSettings()))
"""


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that waits for its trial, and the trial, which loads for ever: its file is a pipe that nobody fills."""
    needs_llama()
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process of its parent's end")
    pipe = tmp_path / "model.gguf"
    os.mkfifo(pipe)
    line = [sys.executable, "-c", ASKING, str(pipe)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as asking:
        try:
            trial = trial_of(psutil.Process(asking.pid))
            try:
                yield asking, trial
            finally:
                with suppress(psutil.NoSuchProcess):
                    trial.kill()
        finally:
            asking.kill()


def trial_of(asking: psutil.Process) -> psutil.Process:
    """Waits until the trial has llama.cpp."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        for trial in asking.children():
            if any("llama" in Path(one.path).name for one in trial.memory_maps()):
                return trial
        time.sleep(0.05)
    pytest.fail(f"no trial within {WAIT_S:g} s")


def test_a_trial_ends_with_the_process_that_waits_for_it(
    loading: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    asking, trial = loading
    asking.kill()
    asking.wait(WAIT_S)
    gone, alive = psutil.wait_procs([trial], timeout=10.0)
    assert (gone, alive) == ([trial], [])


def test_signals_to_a_whole_server_leave_its_trial_to_who_waits_for_it(
    loading: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    asking, trial = loading
    for number in (signal.SIGINT, signal.SIGTERM):
        trial.send_signal(number)
    with pytest.raises(psutil.TimeoutExpired):
        trial.wait(1.0)
    asking.kill()
    assert psutil.wait_procs([trial], timeout=10.0) == ([trial], [])
