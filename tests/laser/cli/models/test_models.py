"""`laser convert` and `laser fit`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from laser.cli.main import main
from models.reasoner import bundled_model
from tests.support.gguf_files import MODEL, save


def called(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("converted") / "reasoner.gguf"
    code, said = called("convert", bundled_model(), file)
    assert (code, f"serve it with `laser serve --model {file}`" in said) == (0, True)
    return file


def test_fit_tells_of_a_file_and_of_a_directory(converted: Path) -> None:
    code, said = called("fit", converted, "--max-batch", 4)
    assert code == 0
    assert said.startswith(f"{converted} with llamacpp: serve takes 16,384 cells for 4 requests at once")
    assert "q4_0" in said
    code, said = called("fit")
    assert (code, "with torch" in said, "q4_0" in said) == (0, True, False)


def test_fit_prints_the_same_as_json(converted: Path) -> None:
    code, said = called("fit", converted, "--max-batch", 4, "--json")
    found = json.loads(said)
    assert (code, found["engine"], found["trained"]) == (0, "llamacpp", 4096)
    assert found["taken"]["cells"] == 16_384
    assert {one["kv_type"] for one in found["batches"]} == {"f16", "q8_0", "q4_0"}


def test_what_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    adapter = save(tmp_path / "lora.gguf", {**MODEL, "general.type": "adapter"})
    (tmp_path / "notes.txt").write_text("no model")
    for arguments, said in (
        (("fit", adapter), f"Error: {adapter}: is no model, but an adapter, which must be merged"),
        (("evaluate", "--model", adapter), f"Error: {adapter}: is no model, but an adapter, which must be merged"),
        (("fit", tmp_path / "notes.txt"), "is no GGUF file: it must begin with GGUF"),
        (("fit", tmp_path / "none"), "none: is neither a path that exists nor a model's name"),
        (("convert", tmp_path, tmp_path / "out.gguf"), "is a GGUF file, which the engine llamacpp alone runs"),
    ):
        code, output = called(*arguments)
        assert code == 1
        assert said in output
        assert sum(line.startswith("Error") for line in output.splitlines()) == 1
