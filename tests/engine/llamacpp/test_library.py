"""The binding: layouts are checked, and what is missing is said."""

from __future__ import annotations

import ctypes
import os
import sys
import tomllib
from pathlib import Path

import pytest

from engine.base import EngineUnavailableError
from engine.llamacpp.library import CPU, PACKAGES, check_installed, llama
from engine.llamacpp.options import LlamaOptions
from engine.llamacpp.structs import CONTEXT_DEFAULTS, ContextParams05, ContextParams06, unlike
from tests.support.engines import needs_llama

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRA: list[str] = PROJECT["optional-dependencies"]["llamacpp"]


def made() -> ContextParams06:
    """What a library of llama.cpp 0.6 returns."""
    return ContextParams06(**CONTEXT_DEFAULTS)


def test_defaults_that_lie_where_they_should_are_accepted() -> None:
    assert unlike(made(), CONTEXT_DEFAULTS) is None


def test_another_version_s_layout_is_told_by_its_first_field_that_reads_wrong() -> None:
    moved = ContextParams05.from_buffer_copy(bytes(made()))
    assert unlike(moved, CONTEXT_DEFAULTS) == "offload_kqv is False, expected True"


def test_a_structure_is_longer_than_any_version_s() -> None:
    """A library may copy more than we know of: what it copies must be ours."""
    assert ContextParams06.ctx_other.offset + 8 + 64 <= ctypes.sizeof(ContextParams06)


def test_without_a_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineUnavailableError) as caught:
        check_installed()
    package = next(one for one in EXTRA if one.startswith("xllamacpp"))
    assert str(caught.value) == (
        f"llama.cpp is not installed, which GGUF models need: pip install {package}, in a checkout "
        "pip install -c constraints.txt -e '.[llamacpp]'"
    )


def test_the_installed_library_is_one_that_is_known() -> None:
    needs_llama()
    assert unlike(llama().llama_context_default_params(), CONTEXT_DEFAULTS) is None
    assert llama().version


def test_the_free_memory_of_a_device_is_what_the_library_tells_of_it() -> None:
    needs_llama()
    (free,) = llama().free_bytes(CPU)
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert len(llama().gpu_memory()) <= len(llama().gpus())
    assert [*LlamaOptions(gpu_layers=0).gpu_memory()] == []
