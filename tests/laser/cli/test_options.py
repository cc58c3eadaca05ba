"""The command line takes every value that its help and the documents name, and refuses others in one line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from engine.registry import kinds
from laser.cli.common.options import loading_settings
from laser.cli.main import COMMANDS, main
from laser.server.config import CHOICES, load_config
from models.files.strict_yaml import ConfigError
from tests.support.processes import ENVIRONMENT, ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDED = {"evaluate": (), "experiment tune": ("FILE", "--policy", "p", "--training", "1")}


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield f"{name} {inner}", found
        else:
            yield name, command


def documented() -> Iterator[tuple[str, click.Command, str, str]]:
    """Every value of every option that its help names: the choices, and the default."""
    for name, command in every_command():
        context = click.Context(command)
        for option in command.params:
            if not isinstance(option, click.Option) or option.is_flag:
                continue
            shown = option.make_metavar(context)
            values = shown.strip("[]").split("|") if isinstance(option.type, click.Choice) else []
            assert not isinstance(option.type, click.Choice) or len(values) == len(option.type.choices)
            if option.default is not None and isinstance(option.default, str | int | float):
                values.append(str(getattr(option.default, "value", option.default)))
            for value in dict.fromkeys(values):
                yield name, command, option.opts[0], value


CASES = list(documented())


@pytest.mark.parametrize(("name", "command", "option", "value"), CASES, ids=[" ".join(each[::2]) for each in CASES])
def test_every_documented_value_of_every_option_is_taken(
    name: str, command: click.Command, option: str, value: str
) -> None:
    needed = [each.name.upper() for each in command.params if isinstance(each, click.Argument) and each.name]
    needed += [part for part in NEEDED.get(name, ()) if part not in needed]
    found = command.make_context(name, [*needed, option, value])
    assert found.params


def test_there_are_options_with_choices_in_many_commands() -> None:
    """The test above would pass with none."""
    assert {"calibrate", "evaluate", "serve", "quantize", "replay"} <= {name for name, *_ in CASES}
    assert ("evaluate", "--engine", "torch") in [(name, option, value) for name, _, option, value in CASES]
    assert ("calibrate", "--cache-type", "q8") in [(name, option, value) for name, _, option, value in CASES]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize(("name", "value"), [("runner", "bare"), ("cache_type", "q8"), ("cells", 4_096)])
def test_an_engine_takes_the_options_that_it_has_and_refuses_the_others(kind: str, name: str, value: str | int) -> None:
    lacks = {"torch": "cache_type", "exllama": "runner"}.get(kind)
    flags = {"engine": kind, name: value}
    if name == lacks:
        told = f"{name} is {value}, but engine is {kind}, which has none"
        with pytest.raises(click.UsageError, match=told):
            loading_settings(flags)
        with pytest.raises(ConfigError, match=told):
            load_config(None, flags)
    else:
        made = loading_settings(flags)["engine"]
        assert (made.kind, getattr(made, name)) == (kind, value)
        assert load_config(None, flags).engine_options == made


def test_what_loads_and_prompts_a_model_is_the_same_for_serving_and_measuring() -> None:
    found = dict(every_command())
    shared = {"--engine", "--cache-type", "--runner", "--cells", "--max-batch", "--threads", "--trust-markers"}
    shared |= {"--model", "--thinking", "--chat-template", "--score"}
    for name in ("serve", "evaluate", "calibrate"):
        assert shared <= {option for each in found[name].params for option in each.opts}


@pytest.mark.parametrize(("name", "value"), [(name, each.value) for name, of in CHOICES.items() for each in of])
def test_every_choice_of_the_server_is_configured(name: str, value: str) -> None:
    assert getattr(load_config(None, {name: value}), name) == value


def commands_in(document: Path) -> Iterator[str]:
    """The lines of code blocks that call `laser`, without their comments."""
    for line in document.read_text("utf-8").splitlines():
        found = re.match(r"    (?:[A-Z_]+=\S+ )*(laser .+)", line)
        if found and "…" not in found[1] and "$" not in found[1]:
            yield re.split(r"\s+#|\s*&$|\s*[|>]", found[1])[0]


SHOWN = sorted({line for document in DOCUMENTS for line in commands_in(document)})


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_of_the_documents_is_taken(line: str) -> None:
    _, *arguments = shlex.split(line)
    command: click.Command = main
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(click.Context(command), arguments[0])
        assert found is not None, line
        command, arguments = found, arguments[1:]
    assert command.make_context(line, arguments).params is not None


def test_the_documents_show_commands() -> None:
    assert len(SHOWN) > 20


@pytest.mark.parametrize("arguments", [["--engine", "TORCH"], ["--engine", "tpu"], ["--cache-type", "Q8"]])
def test_other_values_are_refused_with_those_that_are_taken(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, ["evaluate", *arguments])
    assert done.exit_code == 2
    assert f"{arguments[1]!r} is not one of " in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [b"ask", b"caf\xe9 3"],
        [b"evaluate", b"--model", b"mod\xe8le"],
        [b"simulate", b"--rate", b"\xff"],
        [b"\xe9"],
        [b"experiment", b"run", b"\xc3"],
    ],
)
def test_bytes_that_are_no_text_are_refused_in_one_line(arguments: list[bytes]) -> None:
    line = [os.fsencode(sys.executable), b"-m", b"laser", *arguments]
    done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(b"Error: an argument is not UTF-8: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("variable", [b"LASER_URL", b"LASER_KEY"])
def test_bytes_in_the_environment_that_are_no_text_are_refused_in_one_line(variable: bytes) -> None:
    line = [sys.executable, "-m", "laser", "ask", "hello"]
    environment = {os.fsencode(name): os.fsencode(value) for name, value in ENVIRONMENT.items()} | {variable: b"\xe9"}
    done = subprocess.run(line, capture_output=True, env=environment, timeout=60, check=False)  # type: ignore[arg-type]  # bytes are taken, too
    assert done.returncode == 2
    assert b"must be visible" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_lacks_letters_shows_escapes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "laser", "calibrate", "--help"], capture_output=True, check=False, timeout=60,
        env=ENVIRONMENT | {"PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"N,N,\u2026" in done.stdout
