"""docs/reference/ is what the code says, and every line of it says something."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from laser.cli.main import main
from laser.handbook import GLOSSARY, PLACES, Chapter, Entry, Page, entries_of, find, handbook, nearest
from laser.reference.pages import PAGES, ROOTS, contents, served_pages
from laser.reference.served import service
from laser.server.app import create_app
from laser.server.service import Service

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
STANDS_ALONE = re.compile(r"(?!null:|\d+:|…)..")
COMMAND = "run `python -m laser.reference` and commit docs/reference"
# texts that clients, models and people write, and names and ids: all other texts of the API are of closed sets
FREE = frozenset({
    "arguments", "call", "call_id", "content", "created_at", "description", "digest", "display_name", "ebnf", "error",
    "exit_reason", "expires_at", "family", "first_id", "grammar", "guided_grammar", "guided_json", "guided_regex", "id",
    "input", "instructions", "json", "json_schema", "knows", "laser_version", "last_id", "loading", "message", "model",
    "modelfile", "modified_at", "name", "note", "output", "owned_by", "param", "parameter_size", "parameters",
    "parent_model", "policy", "prompt", "quantization_level", "reasoning", "reasoning_budget_message",
    "reasoning_content", "regex", "response", "schema", "signature", "stop", "stop_sequence", "stop_sequences",
    "system", "template", "text", "thinking", "token", "tool_call_id", "tool_name", "tool_use_id", "trouble", "version",
})  # fmt: skip


def silent(page: Page) -> list[str]:
    """The lines that say nothing, or what nobody understands who reads that line alone."""
    told = [(chapter, entry) for chapter in page.chapters for entry in chapter.entries]
    return [f"{chapter.title}: {entry.name}" for chapter, entry in told if not STANDS_ALONE.match(entry.means)]


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_code_generates(name: str) -> None:
    page = PAGES[name]()
    assert silent(page) == [], "describe it where it is declared"
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8") == page.markdown, COMMAND


@pytest.fixture(scope="module")
def bundled() -> Service:
    return service()


@pytest.fixture(scope="module")
def served(bundled: Service) -> dict[str, Page]:
    return served_pages(bundled)


@pytest.mark.slow
def test_the_committed_pages_of_a_server_are_what_it_shows(served: dict[str, Page]) -> None:
    for name, page in served.items():
        assert silent(page) == [], "describe it where it is declared"
        assert (FOLDER / f"{name}.md").read_text(encoding="utf-8") == page.markdown, COMMAND
    pages = {name: page() for name, page in PAGES.items()} | served
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == contents(pages), COMMAND
    assert {file.stem for file in FOLDER.glob("*.md")} == {"README", *pages}, COMMAND


def test_every_class_that_a_yaml_file_fills_has_a_page() -> None:
    """`read(path, SomeClass)` of the strict reader is how such files are read."""
    read = {
        call.args[1].id
        for package in ("laser", "experiments", "controller", "engine", "models")
        for file in (ROOT / package).rglob("*.py")
        if "strict_yaml import" in (text := file.read_text(encoding="utf-8"))
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "read"
        and len(call.args) > 1 and isinstance(call.args[1], ast.Name)
    }  # fmt: skip
    assert len(read) >= 5
    assert read <= {kind.__name__ for kind, _ in ROOTS.values()}


def test_a_page_is_read_back_as_it_was_written() -> None:
    told = (
        Entry(name="a|b", means="one | or `two`", more={"value": "`x`", "unit": "s"}),
        Entry(name="c", means="three", more={"unit": ""}),
    )
    page = Page(title="T", text="Some text.", chapters=(Chapter(title="S", entries=told), Chapter(title="Empty")))
    first, second = entries_of(page.markdown)
    assert (first.name, first.means, first.more, first.where) == ("a|b", told[0].means, told[0].more, "T, S")
    assert (second.name, second.means, second.more) == ("c", "three", {"value": "", "unit": ""})


# --- laser docs


@pytest.mark.parametrize(
    ("words", "name", "says"),
    [
        ("inner_s", "inner_s", "default: 0.5"),
        ("objective.latency_weight", "objective.latency_weight", "correct answers"),
        ("WINDOW_S", "estimator.window_s", "the plain mean"),
        ("--drain-s", "--drain-s", "SIGTERM"),
        ("laser_replies_total", "laser_replies_total", "exit_reason"),
        ("x-slo-ttft-ms", "x-slo-ttft-ms", "turned away"),
        ("withdrawn_tokens", "withdrawn_tokens", "adopted"),
        ("flash-crowd", "flash-crowd", "climbs"),
        ("landing", "landing", "closes a thought"),
        ("overloaded", "overloaded", "too many"),
        ("HINDSIGHT", "hindsight", "constant"),
    ],
)
def test_docs_finds_what_has_a_name_first(words: str, name: str, says: str) -> None:
    result = CliRunner().invoke(main, ["docs", *words.split()])
    assert result.exit_code == 0
    first = result.output.split("\n\n")[0]
    assert first.startswith(f"{name}  (")
    assert says in result.output


def test_docs_finds_by_text_and_says_what_it_left_out() -> None:
    few = CliRunner().invoke(main, ["docs", "thought"]).output
    every = CliRunner().invoke(main, ["docs", "thought", "--all"]).output
    assert "more: --all prints them" in few
    assert len(every) > 2 * len(few)


def test_docs_names_what_is_near_when_nothing_is_found() -> None:
    result = CliRunner().invoke(main, ["docs", "latensy_weigth"])
    assert result.exit_code == 1
    assert "near: latency_weight" in result.output
    assert "latency_weight  (" in result.output  # the nearest entry itself, too
    assert CliRunner().invoke(main, ["docs", "zzzzqqqq"]).exit_code == 1


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("shed", ["shed  (Glossary"]),
        ("certificates", ["certificate  (Glossary"]),  # a plural
        ("policies", ["policy  (Glossary"]),
        ("early exit", ["early exit  (Glossary", "--early-exit/--no-early-exit  (Commands", "early_exit  (serve.yaml"]),
        ("budget", ["budget  (Glossary", "--budget  (Commands"]),
        ("max_budget", ["max_budget  (serve.yaml", "--max-budget  (Commands"]),  # as it is spelled
    ],
)
def test_docs_shows_the_glossary_before_flags_and_flags_before_settings(words: str, first: list[str]) -> None:
    heads = [told.split("\n")[0] for told in CliRunner().invoke(main, ["docs", *words.split()]).output.split("\n\n")]
    assert [head[: len(start)] for head, start in zip(heads, first, strict=False)] == first


def test_whole_words_come_before_parts_of_words() -> None:
    entries = [
        Entry(name="ends", means="when it has finished"),
        Entry(name="turned away", means="a request that was shed, not served"),
        Entry(name="polished", means="nothing"),
        Entry(name="never_shed", means="another", where="Metrics"),
        Entry(name="sheds", means="plural", where="API"),
    ]
    assert [entry.name for entry in find("shed", entries)] == ["sheds", "never_shed", "polished", "turned away", "ends"]
    assert [entry.name for entry in find("", entries)] == []


def test_docs_shows_plain_words() -> None:
    told = CliRunner().invoke(main, ["docs", "policies[].policy"]).output
    assert "laser docs policies has its settings" in told
    everything = CliRunner().invoke(main, ["docs", "e", "--all"]).output
    assert len(everything) > 100_000
    assert not re.search(r"\]\([a-z-]+\.md\)|default: (\(\)|\[\])\n|    where: ", everything)


def test_a_better_match_comes_first() -> None:
    entries = [
        Entry(name="waits", means="here and there"),
        Entry(name="max_wait_s", means="the longest wait"),
        Entry(name="wait_s", means="the wait"),
        Entry(name="other", means="a wait_s of another"),
    ]
    assert [entry.name for entry in find("wait-s", entries)] == ["wait_s", "max_wait_s", "other"]
    assert nearest("max_wait", entries)[0] == "max_wait_s"


def test_the_handbook_has_the_glossary_too_and_the_wheel_has_the_handbook() -> None:
    (landing,) = (entry for entry in handbook() if entry.name == "landing" and "Glossary" in entry.where)
    assert landing.means.startswith("The text that closes a thought")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    placed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for name in ("reference", GLOSSARY):
        assert ROOT / placed[f"docs/{name}"] == PLACES[0] / name


# --- /openapi.json


@pytest.fixture(scope="module")
def schema(bundled: Service) -> Any:
    return json.loads(json.dumps(create_app(bundled).openapi()))


@pytest.mark.slow
def test_openapi_describes_every_operation_parameter_and_response(schema: dict[str, Any]) -> None:
    silent = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts = {"operation": operation, **{one["name"]: one for one in operation.get("parameters", ())}}
            for status, response in operation["responses"].items():
                parts |= {status: response, **{f"{status} {name}": one for name, one in response["headers"].items()}}
            silent += [f"{method} {path}: {name}" for name, one in parts.items() if not one.get("description")]
    assert silent == []


@pytest.mark.slow
def test_openapi_describes_every_field_and_names_the_values_of_closed_ones(schema: dict[str, Any]) -> None:
    silent, open_ended = [], []
    for name, component in schema["components"]["schemas"].items():
        assert component.get("description"), name
        for field, one in component.get("properties", {}).items():
            if not one.get("description"):
                silent.append(f"{name}.{field}")
            texts = [each for each in (one, *one.get("anyOf", ())) if each.get("type") == "string"]
            if field not in FREE and any(not {"enum", "const"} & set(each) for each in texts):
                open_ended.append(f"{name}.{field}")
    assert silent == []
    assert open_ended == [], "an enum or a Literal names the values; a text of anybody's is in FREE"
