"""Whatever a file of a model directory holds, `laser serve` says in one line which file is at fault, and why.

Every directory here asks for a cache too small for any reply, which is checked last: so a damage that nobody noticed
ends with that error, and never serves.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from laser.cli.main import main
from models.reasoner import bundled_model
from tests.support.engines import needs_llama
from tests.support.gguf_files import save
from tests.support.processes import laser

FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
    "profile.json",
)
INDEX = {"metadata": {}, "weight_map": {"model.norm.weight": "model.safetensors"}}
MADE = {"special_tokens_map.json": {}, "added_tokens.json": {}, "model.safetensors.index.json": INDEX}  # not bundled

DEEP = 5000
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a list": (lambda whole: b"[]", "list"),
    "a list of objects": (lambda whole: b"[" + whole + b"]", "list"),
    "a number": (lambda whole: b"3", "number|int"),
    "a text": (lambda whole: b'"x"', "text|str"),
    "null": (lambda whole: b"null", "null|NoneType"),
    "true": (lambda whole: b"true", "truth|bool"),
    "nothing": (lambda whole: b"", "is not JSON, or only a part of it: it is empty"),
    "blanks": (lambda whole: b" \n\n ", "is not JSON, or only a part of it: it is empty"),
    "a part": (lambda whole: whole[: len(whole) // 2], "is not JSON, or only a part of it"),
    "zeros": (lambda whole: b"\0" * 64, "is not JSON"),
    "deep lists": (lambda whole: b"[" * DEEP + b"]" * DEEP, "is nested too deeply, at most 64 levels"),
    "open lists": (lambda whole: b"[" * DEEP, "is nested too deeply"),
    "deep objects": (lambda whole: b'{"a":' * DEEP + b"1" + b"}" * DEEP, "is nested too deeply"),
    "rather deep objects": (lambda whole: b'{"a":' * 80 + b"1" + b"}" * 80, "is nested too deeply"),
    "bytes": (lambda whole: whole[:1] + b'"\xff\xfe": 1,' + whole[1:], "is not UTF-8: invalid start byte at byte 2"),
    "UTF-16": (lambda whole: whole.decode().encode("utf-16"), "is not UTF-8"),
    "a byte order mark": (lambda whole: b"\xef\xbb\xbf" + whole, "begins with a byte order mark"),
    "digits": (lambda whole: whole[:1] + b'"a": ' + b"9" * DEEP + b"," + whole[1:], "too many digits"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the bundled model, with every file that a model directory may have."""
    skipped = shutil.ignore_patterns("*.xz", "README.md")
    directory = Path(shutil.copytree(bundled_model(), tmp_path / "model", ignore=skipped))
    for name, said in MADE.items():
        (directory / name).write_text(json.dumps(said))
    return directory


def served(directory: Path) -> str:
    """Returns the one line with which `laser serve` refuses a model directory."""
    options = ["--engine", "torch", "--policy", "load-aware", "--cells", "1", "--port", "0", "--in-process"]
    done = CliRunner().invoke(main, ["serve", "--model", str(directory), *options])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    *before, last = done.stderr.splitlines()
    assert before == []
    assert last.startswith("Error: ")
    assert len(last) < 800
    return last


def test_a_whole_model_is_loaded_to_the_end(model: Path) -> None:
    assert "a sequence may have" in served(model)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_in_one_line(model: Path, name: str, damage: str) -> None:
    change, told = DAMAGES[damage]
    (model / name).write_bytes(change((model / name).read_bytes()))
    line = served(model)
    if (name, damage) == ("profile.json", "a byte order mark"):  # our own file, which no library reads
        assert "a sequence may have" in line
        return
    assert name in line
    assert any(part in line for part in told.split("|"))


@pytest.mark.parametrize("name", [*FILES, "laser.yaml", "chat_template.jinja", "model.safetensors"])
@pytest.mark.parametrize("kind", ["a directory", "a link to nowhere"])
def test_what_is_no_file_is_told_in_one_line(model: Path, name: str, kind: str) -> None:
    (model / name).unlink()
    if kind == "a directory":
        (model / name).mkdir()
        assert f"{model / name}: is a directory, must be a file" in served(model)
    else:
        (model / name).symlink_to(model / "nowhere")
        assert f"{model / name}: is a link to what is not there" in served(model)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (b"- a\n", "must be a mapping"),
        (b"3\n", "must be a mapping"),
        (b"x\n", "must be a mapping"),
        (b"[" * DEEP, "laser.yaml"),
        (b"[" * DEEP + b"]" * DEEP, "laser.yaml"),
        (b"{a: " * DEEP, "laser.yaml"),
        (b"landing: [", "is not YAML"),
        (b"landing: \xff", "is not UTF-8"),
        ("landing: x".encode("utf-16"), "is not UTF-8"),
        (b"landing: 3\n", "`landing` is '3', must be of type str"),
        (b"landing:\n", "`landing`"),
        (b"landing: !!bool foo\n", "laser.yaml"),
        (b"answer_reserve: 1e400\n", "`answer_reserve`"),
        (b"answer_reserve: -1\n", "answer_reserve is -1, must be at least 1"),
        (b"nonsense: 1\n", "unknown key `nonsense`"),
    ],
)
def test_a_damaged_thinking_format_is_told_in_one_line(model: Path, damage: bytes, told: str) -> None:
    (model / "laser.yaml").write_bytes(damage)
    line = served(model)
    assert "laser.yaml" in line
    assert told in line


def test_a_template_that_is_no_text_is_told_in_one_line(model: Path) -> None:
    (model / "chat_template.jinja").write_bytes(b"{{ messages }}\xff")
    assert "chat_template.jinja: is not UTF-8: invalid start byte at byte 14" in served(model)


@pytest.mark.parametrize("where", ["vocab", "added_tokens"])
def test_an_id_beyond_any_vocabulary_is_told_in_one_line(model: Path, where: str) -> None:
    """A table of all ids up to it would not fit into any memory."""
    said = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    if where == "vocab":
        said["model"]["vocab"]["a strange token"] = 4_000_000_000
    else:
        said["added_tokens"].append({**said["added_tokens"][0], "content": "<|strange|>", "id": 4_000_000_000})
    (model / "tokenizer.json").write_text(json.dumps(said), encoding="utf-8")
    assert "tokenizer.json: a token has the id 4000000000, must be below 16777216" in served(model)


def test_weights_that_were_cut_are_told_in_one_line(model: Path) -> None:
    whole = (model / "model.safetensors").read_bytes()
    for share in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        (model / "model.safetensors").write_bytes(whole[:share])
        assert f"{model}/model.safetensors is damaged: " in served(model)


VALUES: dict[str, Any] = {
    "null": None,
    "text": "x",
    "negative": -1,
    "zero": 0,
    "half": 0.5,
    "NaN": float("nan"),
    "1e400": float("inf"),
    "huge": 10**30,
    "list": [],
    "object": {},
    "true": True,
    "half a pair": "\ud800",
}
FEW = ("negative", "object")  # all of them are minutes' work, for `make nightly`


@pytest.mark.slow
@pytest.mark.parametrize("value", VALUES if "LASER_FUZZ" in os.environ else FEW)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_whatever_a_key_holds_the_model_is_loaded_or_refused_in_one_line(model: Path, name: str, value: str) -> None:
    whole = json.loads((model / name).read_text(encoding="utf-8"))
    refused = []
    for key in whole:
        (model / name).write_text(json.dumps({**whole, key: VALUES[value]}), encoding="utf-8")
        if "a sequence may have" not in served(model):
            refused.append(key)
    assert len(refused) < len(whole) or name == "tokenizer.json"  # for each file some keys may hold anything


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_a_process_of_its_own_ends_without_a_traceback(model: Path, name: str) -> None:
    (model / name).write_bytes(b"[" * DEEP)
    done = laser("serve", "--model", str(model), "--engine", "torch", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    before, last = done.stderr.splitlines()
    assert before.endswith(f" INFO laser.start: loading   {model} …")
    assert last == f"Error: {model / name}: is nested too deeply, at most 64 levels are read"


@pytest.mark.slow
def test_a_gguf_file_of_an_unknown_architecture_is_told_in_one_line_before_anything_is_loaded(tmp_path: Path) -> None:
    needs_llama()
    file = save(tmp_path / "model.gguf", **{"general.architecture": "laserformer"})
    for form in ("--in-process", "--no-in-process"):
        done = laser("serve", "--model", file, "--port", "0", form)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Error: {file}: general.architecture is 'laserformer', which llama.cpp ")
        assert " does not know; it knows " in line
