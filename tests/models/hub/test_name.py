"""A model's name: what is one, what wins, and what a model is called by its place in a hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.hub.name import ModelName, called, model_path, quant_of, read_name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Qwen/Qwen3-4B", ModelName(repository="Qwen/Qwen3-4B")),
        ("Qwen/Qwen3-4B-GGUF:q4_k_m", ModelName(repository="Qwen/Qwen3-4B-GGUF", quant="q4_k_m")),
        ("a/b:Q8_0@refs/pr/1", ModelName(repository="a/b", quant="Q8_0", revision="refs/pr/1")),
        ("a/b@" + "0" * 40, ModelName(repository="a/b", revision="0" * 40)),
    ],
)
def test_a_name_says_repository_quantisation_and_revision(said: str, name: ModelName) -> None:
    assert read_name(said) == name
    assert str(name) == said


@pytest.mark.parametrize(
    "said",
    [
        *("qwen", "./a/b", "/a/b", "~/a", "../a", "a/b/c", "a/..", "a/b--c", "a/b.git", "a b/c", "-a/b", "a/b-"),
        *("a/b:", "a/b@", "a/b@../x", "a/" + "b" * 96, "a/b:Q4:Q5", "a/b@x@y", "a/ü", "models/qwen.gguf"),
    ],
)
def test_what_is_no_name_is_a_path(said: str) -> None:
    assert read_name(said) is None


def test_a_file_means_a_path_beside_it_before_a_name(tmp_path: Path) -> None:
    assert model_path("org/model", tmp_path) == Path("org/model")
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert model_path("org/model", tmp_path) == tmp_path / "org" / "model"
    assert model_path("nowhere", tmp_path) == tmp_path / "nowhere"
    assert model_path("nowhere", Path("configs")) == Path("configs/nowhere").absolute(), "it is no name for that"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/qwen", "qwen"),
        ("models/qwen.gguf", "qwen.gguf"),
        ("hub/models--org--a-b/snapshots/0123", "org/a-b"),
        ("hub/models--org--a-b/snapshots/0123/Q8_0/a-Q8_0-00001-of-00002.gguf", "org/a-b:Q8_0"),
        ("hub/models--org--a-b/snapshots/0123/a.gguf", "org/a-b:a"),
        ("hub/models--org--a-b", "models--org--a-b"),
    ],
)
def test_a_model_is_called_by_its_name_in_a_cache_too(path: str, name: str) -> None:
    assert called(Path(path)) == name


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.q4_1.GGUF", "Q4_1"),
        ("UD-Q4_K_XL/x-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("x-IQ2_XXS.gguf", "IQ2_XXS"),
        ("BF16/x-00001-of-00002.gguf", "BF16"),
        ("model-f16.gguf", "F16"),
        ("Q4-model-notes.gguf", "Q4"),
        ("model.gguf", "model"),
    ],
)
def test_a_gguf_file_s_path_names_its_quantisation(file: str, quant: str) -> None:
    assert quant_of(file) == quant
