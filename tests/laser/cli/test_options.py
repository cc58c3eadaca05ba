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

from controller.policies.definition import needs_profile
from controller.policies.registry import POLICIES, find, summaries
from engine.registry import kinds
from laser.cli.common.help_pages import EXAMPLE, ShownFloatRange, ShownIntRange
from laser.cli.common.options import loading_settings
from laser.cli.main import COMMANDS, main
from laser.cli.serve import SECTIONS
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
@pytest.mark.parametrize(
    ("name", "value"), [("runner", "bare"), ("dtype", "auto"), ("cache_type", "q8"), ("cells", 4_096)]
)
def test_an_engine_takes_the_options_that_it_has_and_refuses_the_others(kind: str, name: str, value: str | int) -> None:
    lacks = {
        "torch": {"cache_type"},
        "exllama": {"runner", "dtype"},
        "llamacpp": {"cache_type", "runner", "dtype"},
    }.get(kind, set())
    flags = {"engine": kind, name: value}
    if name in lacks:
        told = f"{name} is {value}, but engine is {kind}, which has none"
        with pytest.raises(click.UsageError, match=told):
            loading_settings(flags, None)
        with pytest.raises(ConfigError, match=told):
            load_config(None, flags)
    else:
        made = loading_settings(flags, None)["engine"]
        assert (made.kind, getattr(made, name)) == (kind, value)
        assert load_config(None, flags).engine_options == made


def test_what_loads_and_prompts_a_model_is_the_same_for_serving_and_measuring() -> None:
    found = dict(every_command())
    shared = {
        "--engine",
        "--cache-type",
        "--runner",
        "--dtype",
        "--cells",
        "--max-batch",
        "--threads",
        "--trust-markers",
    }
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


def examples() -> Iterator[str]:
    """The lines of help pages that call `laser`, without what stands behind them."""
    for _, command in (("", main), *every_command()):
        for line in re.findall(r"^  (laser .+)", command.epilog or "", re.MULTILINE):
            yield re.split(r"\s{2,}", line)[0]


SHOWN = sorted({*(line for document in DOCUMENTS for line in commands_in(document)), *examples()})


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_of_the_documents_is_taken(line: str) -> None:
    _, *arguments = shlex.split(line)
    command: click.Command = main
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(click.Context(command), arguments[0])
        assert found is not None, line
        command, arguments = found, arguments[1:]
    assert command.make_context(line, arguments).params is not None


def test_the_documents_and_help_pages_show_commands() -> None:
    assert len(SHOWN) > 20
    assert len(list(examples())) > 15


def test_the_help_says_what_to_do_first_and_what_a_thought_is() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    _, steps = said.split("First steps:\n")
    begin = [re.split(r"\s{2,}", line.strip())[0] for line in steps.splitlines()]
    assert begin[:3] == ["laser demo", "laser serve", f"laser ask '{EXAMPLE}'"]
    assert "early exit" in said.split("Options:")[0].partition("A probe asks")[0]


def shared() -> dict[str, set[str]]:
    """What the commands say of an option, for the options that are to be told alike."""
    names = ("--model", "--risk", "--seed", "--thinking", "--engine", "--url", "--key", "--max-batch", "--controller")
    told = dict[str, set[str]]()
    for name, command in every_command():
        for option in command.params:
            if isinstance(option, click.Option) and option.opts[0] in names and name != "train":
                told.setdefault(option.opts[0], set()).add((option.help or "").partition(". ")[0].partition(" [")[0])
    return told


def test_the_same_option_is_told_alike_by_every_command() -> None:
    told = shared()
    assert len(told.pop("--seed")) == 2  # of examinations, and of loads
    assert {name: said for name, said in told.items() if len({each.rstrip(".") for each in said}) > 1} == {}


OUTSIDE = [
    (option, value)
    for name, command in every_command()
    if name == "serve"
    for option in command.params
    if isinstance(option.type, ShownIntRange | ShownFloatRange)
    for value in (
        None if option.type.min is None else option.type.min - (0 if option.type.min_open else 1),
        None if option.type.max is None else option.type.max + (0 if option.type.max_open else 1),
    )
    if value is not None
]


@pytest.mark.parametrize(("option", "value"), OUTSIDE, ids=[f"{each.name} {value}" for each, value in OUTSIDE])
def test_a_range_that_the_help_of_serve_shows_is_the_configuration_s(option: click.Parameter, value: float) -> None:
    kind = {"agree": "consistency", "margin": "margin"}.get(str(option.name))
    with pytest.raises(ConfigError, match=f"{option.name} is {value}, must"):
        load_config(None, {"policy": kind, option.name: value})


FLOATS = [
    (f"{name} {option.opts[0]}", command, option)
    for name, command in every_command()
    for option in command.params
    if isinstance(option.type, click.FloatRange) or option.type is click.FLOAT
]


@pytest.mark.parametrize(("command", "option"), [each[1:] for each in FLOATS], ids=[each[0] for each in FLOATS])
def test_no_option_takes_what_is_no_finite_number(command: click.Command, option: click.Option) -> None:
    for said in ("nan", *(() if option.name == "head_start_s" else ("inf", "-inf"))):  # inf: shortest first
        if isinstance(option.type, ShownFloatRange):  # which the configuration refuses
            kind = {"threshold": "fixed", "margin": "margin"}.get(str(option.name))
            with pytest.raises(ConfigError, match=f"{option.name} is {said}, must"):
                load_config(None, {"policy": kind, option.name: float(said)})
            continue
        with pytest.raises(click.BadParameter, match=r"not a (finite )?number|is not in the range"):
            option.type.convert(said, option, click.Context(command))


def test_the_headings_of_serve_hold_every_option_once() -> None:
    serve = dict(every_command())["serve"]
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(each.opts[0] for each in serve.params)


def test_a_policy_says_whether_it_needs_a_profile() -> None:
    assert {kind for kind, said in summaries().items() if "Needs a profile" in said} == {
        kind for kind in POLICIES if needs_profile(find(kind))
    }


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
