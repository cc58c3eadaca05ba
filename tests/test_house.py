"""The house keeps its order: small rooms, one class of each name, and no imports hidden in functions."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("laser", "experiments", "controller", "engine", "models")
MOST_MODULES = 15  # in one folder
MOST_LINES = 400
MOST_COMMAND_LINES = 30  # of a command's body: what a command does is a function, which others can call, too

# What is slow to import, or not installed everywhere: a function may import these, and modules that begin with them.
HEAVY = frozenset({
    "cvxpy", "exllamav2", "filterpy", "gguf", "jinja2", "math_verify", "matplotlib", "optuna", "rich", "safetensors",
    "scipy", "tokenizers", "torch", "transformers", "uvicorn",
})  # fmt: skip


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    """The Python files that git knows, by path from the root."""
    known = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if known.returncode:
        pytest.skip("this is no git checkout")
    files = (Path(name) for name in known.stdout.splitlines())
    return tuple(file for file in files if file.parts[0] in folders and (ROOT / file).is_file())


def parsed(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def test_no_folder_holds_more_modules_than_a_reader_can_survey() -> None:
    rooms = defaultdict(list)
    for file in sources(*PACKAGES, "benchmarks"):
        if file.name != "__init__.py":
            rooms[file.parent].append(file.name)
    assert {str(room): len(names) for room, names in rooms.items() if len(names) > MOST_MODULES} == {}


def test_no_module_is_longer_than_a_reader_can_follow() -> None:
    lengths = {
        str(file): (ROOT / file).read_text(encoding="utf-8").count("\n")
        for file in sources(*PACKAGES, "benchmarks", "tests")
    }
    assert {file: length for file, length in lengths.items() if length > MOST_LINES} == {}


def test_no_two_public_classes_share_a_name() -> None:
    """Outside the API's surfaces, whose classes are OpenAPI's components and unique among themselves."""
    found = defaultdict(list)
    for file in sources(*PACKAGES, "benchmarks"):
        api = file.is_relative_to("laser/server/api")
        for node in parsed(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name, api].append(str(file))
    assert {name: files for (name, _), files in found.items() if len(files) > 1} == {}


def test_a_command_only_reads_options_and_prints() -> None:
    bodies = {}
    for file in sources("laser"):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef) and any(is_click_command(one) for one in node.decorator_list):
                told = node.body[ast.get_docstring(node) is not None :]
                bodies[f"{file}: {node.name}"] = told[-1].end_lineno - told[0].lineno + 1 if told else 0  # type: ignore[operator]
    assert len(bodies) > 10
    assert {name: lines for name, lines in bodies.items() if lines > MOST_COMMAND_LINES} == {}


def is_click_command(decorator: ast.expr) -> bool:
    """Whether a decorator is `@click.command(…)`, `@click.group(…)` or a group's `@group.command(…)`."""
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(call, ast.Attribute) and call.attr in ("command", "group")


def test_functions_import_only_what_is_heavy() -> None:
    """But for the command line, whose commands import what they need, and the registry, whose backends are optional."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    light = []
    for file in sources(*PACKAGES):
        if file.is_relative_to("laser/cli") or file == Path("engine/registry.py"):
            continue
        for function in ast.walk(parsed(file)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                light += [f"{file}: {name}" for name in imported(function) if not is_heavy(name, graph)]
    assert light == []


def imported(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = []
    for node in ast.walk(function):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.append(node.module)
    return names


def is_heavy(name: str, graph: grimp.ImportGraph) -> bool:
    """Whether a module is one of the heavy ones, or a module of ours that imports one, through others or by itself."""
    root = name.partition(".")[0]
    if root not in PACKAGES:
        return root in HEAVY
    return any(graph.chain_exists(name, heavy) for heavy in HEAVY & graph.modules)
