"""A file of a family of networks that llama.cpp does not know is refused by its head alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engine.base import UnsupportedModelError
from engine.llamacpp.architectures import check_architecture, knows
from engine.llamacpp.library import llama
from engine.options import EngineOptions
from engine.registry import check_gguf, engine_options
from models.gguf.model import read_model
from tests.support.engines import needs_llama
from tests.support.gguf_files import save


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    needs_llama()
    return save(tmp_path / "model.gguf", **{"general.architecture": "laserformer"})


def test_an_unknown_architecture_is_named_with_all_that_are_known_and_nothing_is_logged(
    unknown: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(UnsupportedModelError) as error:
        check_architecture(read_model(unknown))
    said = str(error.value)
    start, _, known = said.partition("; it knows ")
    version = f"llama.cpp {llama().version} ({llama().package})"
    assert start == f"{unknown}: general.architecture is 'laserformer', which {version} does not know"
    assert {"llama", "qwen3", "gemma3", "lfm2"} <= set(known.split(", "))
    assert not {"clip", "bert", "gptj", "laserformer"} & set(known.split(", "))  # no models of text, or not decoded
    assert "\n" not in said
    assert not caplog.records


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "lfm2"])
def test_a_known_one_passes_though_the_file_holds_nothing_that_could_be_loaded(architecture: str) -> None:
    needs_llama()
    assert knows(llama(), architecture)


@pytest.mark.parametrize(("kind", "refused"), [("auto", True), ("llamacpp", True), ("torch", False)])
def test_only_what_llama_cpp_would_open_is_looked_at(unknown: Path, kind: str, refused: bool) -> None:
    options: EngineOptions = engine_options(kind, {})
    if not refused:
        check_gguf(unknown, options)  # the engine tells that it reads no GGUF files
        return
    with pytest.raises(UnsupportedModelError, match="laserformer"):
        check_gguf(unknown, options)


def test_the_engine_refuses_it_too_before_any_trial(unknown: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="laserformer"):
        engine_options("llamacpp", {}).open(unknown)
