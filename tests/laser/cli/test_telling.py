"""How long commands tell how far they are, and refuse options that have no use."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest
from click.testing import CliRunner

from engine.exllama.quantise import ConversionProgress
from experiments.progress import Advance, ProgressLines, Silent
from experiments.trials.experiment import read_experiment
from experiments.trials.setting import Setting
from laser.cli.common.messages import ProgressBars, progress
from laser.cli.experiment import check_run
from laser.cli.main import main
from laser.cli.quantize import tell
from tests.support.processes import ROOT


class Kept(Silent):
    """A reporter that keeps each stage's label and what was done of it."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []

    @contextmanager
    def stage(self, label: str, total: int, *, done: int = 0, at_once: int = 1) -> Iterator[Advance]:
        self.stages.append((label, 0))
        yield self._advance

    def _advance(self, more: int, state: str = "", /) -> None:
        label, done = self.stages[-1]
        self.stages[-1] = label, done + more


def test_without_a_terminal_progress_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = progress()
    assert isinstance(reporter, ProgressLines)
    with reporter.stage("Analysis", 2) as advance:
        advance(2)
    reporter.note("Step times")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Analysis: 2 of 2 done, took 0.0 s\nStep times\n"


def test_a_bar_tells_the_time_left_by_this_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    reporter = progress()
    assert isinstance(reporter, ProgressBars)
    with reporter.stage("Tuning", 1_000, done=900) as advance:
        advance(2, "loss 0.5")
        assert "90%  loss 0.5" in terminal.getvalue()  # 902 of them, but two tell no speed
        assert "left" not in terminal.getvalue()
        advance(8)
    assert re.search(r"91%  about \S+ s left, loss 0.5", terminal.getvalue())


def test_a_conversion_s_stages_are_told_one_by_one() -> None:
    looks = [("measuring", 0.25), ("measuring", 1.0), ("quantising", 0.5)]
    kept = Kept()
    tell((ConversionProgress(name=name, done=done) for name, done in looks), kept)
    assert kept.stages == [("Quantising, measuring, %", 100), ("Quantising, quantising, %", 50)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "simulate --rate 2 --policy fixed --controller c.yaml",
            "--controller has no use: policy is fixed, which has no",
        ),
        ("simulate --rate 2 --policy budget --budget 9 --solve-delay 1", "--solve-delay has no use: policy is budget"),
        (
            "simulate --rate 2 --policy load-aware --threshold .8",
            "threshold is 0.8, but policy is load-aware, which has",
        ),
        ("evaluate --engine torch --cache-type q8", "cache_type is q8, but engine is torch, which has none"),
        ("calibrate --engine exllama --runner bare", "runner is bare, but engine is exllama, which has none"),
        (
            "serve --policy fixed --controller c.yaml",
            "controller is c.yaml, but policy is fixed, which has no controller",
        ),
    ],
)
def test_an_option_that_has_no_use_is_refused_in_words(line: str, told: str) -> None:
    done = CliRunner().invoke(main, line.split())
    assert done.exit_code in (1, 2)
    assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("live", {"jobs": 2}, "--jobs has no use: the backend is live"),
        ("simulated", {"again": 0.8}, "--again has no use: simulated trials do not depend on the machine's speed"),
    ],
)
def test_an_option_that_has_no_use_in_an_experiment_is_refused(name: str, options: dict[str, float], told: str) -> None:
    setting = Setting(read_experiment(ROOT / "configs" / "experiments" / f"{name}.yaml"))
    with pytest.raises(click.UsageError, match=told):
        check_run(setting, **{"jobs": None, "again": None, **options})  # type: ignore[arg-type]  # of either option
    check_run(setting, jobs=None, again=None)
