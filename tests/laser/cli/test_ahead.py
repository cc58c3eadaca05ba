"""`laser serve` starts the engine's process before all else, and leaves none behind."""

from __future__ import annotations

import subprocess
import sys

import click
import psutil
import pytest
from click.shell_completion import ShellComplete

from laser.cli.main import main
from laser.server.engine_process.child import MODULE, Child
from tests.support.processes import ENVIRONMENT


def test_the_process_starts_before_the_command_is_imported_and_ends_with_the_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "laser.cli.serve", None)  # it cannot be imported
    with click.Context(main) as context:
        with pytest.raises(ModuleNotFoundError):
            main.resolve_command(context, ["serve", "--port", "0"])
        child = context.find_object(Child)
        assert child is not None
        assert MODULE in psutil.Process(child.process.pid).cmdline()
        assert child.process.poll() is None
    assert child.process.poll() is not None


@pytest.mark.parametrize("line", ["serve --help", "serve -h", "serve --in-process", "fit", "top"])
def test_what_needs_none_starts_none(line: str) -> None:
    with click.Context(main) as context:
        main.resolve_command(context, line.split())
        assert context.find_object(Child) is None


@pytest.mark.parametrize("line", ["serve", "serve --port 0"])
def test_completing_a_line_in_a_shell_starts_none(line: str) -> None:
    with click.Context(main, resilient_parsing=True) as context:
        main.resolve_command(context, line.split())
        assert context.find_object(Child) is None
    words = ShellComplete(main, {}, "laser", "_LASER_COMPLETE").get_completions(line.split(), "--in-pro")
    assert [word.value for word in words] == ["--in-process"]


@pytest.mark.parametrize("wrong", [("--port", "x"), ("--config", "nowhere.yaml"), ("--model", "nowhere")])
def test_behind_a_wrong_command_no_process_is_left(wrong: tuple[str, str]) -> None:
    line = [sys.executable, "-m", "laser", "serve", *wrong]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        said, told = process.communicate()
    assert process.returncode in (1, 2)
    assert said == ""
    assert told.splitlines()[-1].startswith("Error: ")
    left = [one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"]]
    assert not [line for line in left if MODULE in line and line[-1] == str(process.pid)]
