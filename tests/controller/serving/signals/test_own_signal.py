"""A signal of one's own, as docs/signals.md writes it, served end to end by the real loop."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from controller.policies.signal import SignalPolicy
from controller.policy import FixedPolicy, Limits
from controller.serving.signals.base import SIGNALS, Asks
from engine.base import MARGIN, Probed
from laser.cli.main import main
from laser.cli.terminal.words import why_ended
from laser.server.api import surfaces
from tests.support.serving_bench import ENDLESS, Bench
from tests.support.tiny_models import Oracle
from tests.support.toy_surface import TOY

ROOT = Path(__file__).parents[4]
GUIDE = ROOT / "docs" / "signals.md"

Chain = Callable[..., Bench]


def guide() -> dict[str, str]:
    """The files that the guide has its reader save, by name."""
    files = {}
    before, *blocks = GUIDE.read_text(encoding="utf-8").split("```python\n")
    for part in blocks:
        block, _, after = part.partition("```")
        files[re.findall(r"`(\w+\.py)`", before)[-1]] = block
        before = after
    return files


@pytest.fixture
def sustained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The guide's signal in a file of its own; its name in limits."""
    for name, block in guide().items():
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sustained", raising=False)
    return "sustained:Sustained"


@pytest.mark.parametrize("registered", [False, True])
def test_one_file_and_one_line_are_a_signal(
    chain: Chain, sustained: str, registered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if registered:
        monkeypatch.setitem(SIGNALS, "sustained", sustained)
    name = "sustained" if registered else sustained
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(exits={name: 0.85}, budget=20)))
    heard = bench.ask()
    thought = heard.outcome.thought
    assert thought is not None
    assert (thought.exit_reason, thought.tokens, thought.probes) == ("sustained", 6, 2)
    assert (heard.reasoning, heard.content) == ("ab.\n\nab.\n\n~", "{7}")
    assert len(heard.checkpoints) == 2
    (ended,) = bench.loop.status().ended
    assert (ended.exit_reason, why_ended(ended)) == ("sustained", "sustained")
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_a_probe_gives_up_below_a_signal_s_own_bound(chain: Chain, sustained: str) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(exits={sustained: 0.97}, budget=20))).ask()
    assert heard.outcome.thought is not None
    assert heard.outcome.thought.exit_reason == "budget"
    assert {checkpoint.gave_up for checkpoint in heard.checkpoints} == {True}


def test_the_signal_met_first_gives_the_reason(chain: Chain, sustained: str) -> None:
    def reason(threshold: float) -> str:
        heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=threshold, exits={sustained: 0.85}))).ask()
        assert heard.outcome.thought is not None
        return str(heard.outcome.thought.exit_reason)

    assert (reason(0.85), reason(0.95)) == ("confidence", "sustained")


def test_a_client_may_have_its_thought_left_alone(chain: Chain, sustained: str) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(exits={sustained: 0.1}, budget=9))).ask(early_exit=False)
    assert heard.outcome.thought is not None
    assert (heard.outcome.thought.exit_reason, heard.outcome.thought.probes) == ("budget", 0)


def test_what_is_wrong_with_a_signal_is_said_before_the_first_request(chain: Chain) -> None:
    with pytest.raises(ValueError, match="signal sustaned is unknown, must be one of"):
        chain(ENDLESS, policy=FixedPolicy(Limits(exits={"sustaned": 0.5})))


@dataclass(frozen=True, slots=True)
class Nearing:
    """Met by two margins in a row of at most `level`."""

    level: float
    reason: ClassVar[str] = "nearing"
    asks: ClassVar[Asks] = Asks.NEXT_TOKEN
    read: ClassVar[frozenset[str]] = frozenset({MARGIN})
    give_up_below: ClassVar[float] = 0.0

    def closes(self, probes: Sequence[Probed]) -> bool:
        return len(probes) > 1 and all(probed.readings[MARGIN] <= self.level for probed in probes[-2:])


def test_a_signal_may_read_the_next_token_alone(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nearing", sys.modules[__name__])
    wavering = {**ENDLESS, ".\n\n": {"a": 0.6, "</think>": 0.3}}
    bench = chain(wavering, policy=FixedPolicy(Limits(exits={"nearing:Nearing": 0.8}, budget=20)))
    heard = bench.ask()
    thought = heard.outcome.thought
    assert thought is not None
    assert (thought.exit_reason, thought.tokens, thought.probes) == ("nearing", 6, 2)
    assert (heard.reasoning, heard.content, heard.checkpoints) == ("ab.\n\nab.\n\n~", "XY", [])
    bench.engine.ledger.verify(Oracle(bench.directory))


# --- the guide's own files


def test_the_guide_has_three_files() -> None:
    assert list(guide()) == ["sustained.py", "try_sustained.py", "test_sustained.py"]


@pytest.mark.slow
def test_the_guide_s_tests_pass(sustained: str, tmp_path: Path) -> None:
    assert "6 passed" in run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "test_sustained.py")


@pytest.mark.slow
def test_the_guide_s_script_shows_what_the_signal_saves(sustained: str, tmp_path: Path) -> None:
    script = tmp_path / "try_sustained.py"
    whole = script.read_text()
    assert "bundled_questions(4, seed=1)" in whole
    script.write_text(whole.replace("bundled_questions(4, seed=1)", "bundled_questions(1, seed=1)"))  # a quarter of it
    lines = run(tmp_path, "try_sustained.py").splitlines()
    assert [line.split(":")[0] for line in lines] == ["level None", "level 0.5", "level 0.8", "level 0.95"]
    assert "sustained" in lines[1]


def run(folder: Path, *command: str) -> str:
    """What Python prints for a command in a folder; the house is importable there."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_help_lists_a_signal_and_a_surface_that_were_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIGNALS, "sustained", "sustained:Sustained")
    last = surfaces.SURFACES[-1].path
    monkeypatch.setattr(surfaces, "SURFACES", (*surfaces.SURFACES, TOY))
    told = " ".join(CliRunner().invoke(main, ["serve", "--help"]).output.split())
    assert "confidence, consistency, margin, sustained, or module:Class" in told
    assert f"{last}, {TOY.path}" in told


@pytest.mark.parametrize(
    ("signal", "level", "limits"),
    [
        ("confidence", 0.9, Limits(threshold=0.9, budget=9)),
        ("consistency", 3.0, Limits(agree=3, budget=9)),
        ("margin", 6.0, Limits(margin=6.0, budget=9)),
        ("sustained:Sustained", 0.8, Limits(exits={"sustained:Sustained": 0.8}, budget=9)),
    ],
)
def test_the_policy_signal_takes_any_of_them(signal: str, level: float, limits: Limits) -> None:
    assert SignalPolicy(signal=signal, level=level, budget=9).limits == limits
