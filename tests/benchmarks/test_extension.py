"""The check that ExLlamaV2's extension compiles: what it reads, asks for and refuses. Building is done by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.extension import architectures, ninja_file, sources
from benchmarks.gpu.toolchain import HEADERS, BuildError, Target, Tools, missing_headers, package_folder, target, tools

EXLLAMAV2 = package_folder("exllamav2", "the group `dev` holds it")


def test_the_sources_are_those_that_exllamav2_lists_and_all_are_in_its_package() -> None:
    names = sources(EXLLAMAV2)
    assert len(names) == 47
    assert [name for name in names if not (EXLLAMAV2 / "exllamav2_ext" / name).is_file()] == []


def test_a_package_without_a_list_of_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ext.py").write_text("sources = []\n", encoding="utf-8")
    with pytest.raises(BuildError, match=r"lists no sources: is this exllamav2 0\.3\.2"):
        sources(tmp_path)


def test_compute_capabilities_are_read_and_all_else_is_refused() -> None:
    assert architectures("8.6; 8.9;9.0;12.0") == ["86", "89", "90", "120"]
    for wrong in ("90", "sm_90", "9.0,8.9", "9.0+PTX"):
        with pytest.raises(BuildError, match="is no compute capability"):
            architectures(wrong)
    with pytest.raises(BuildError, match="names no compute capability"):
        architectures(" ; ")


def test_every_header_that_no_folder_holds_is_named_with_what_brings_it(tmp_path: Path) -> None:
    assert len(missing_headers([tmp_path])) == len(HEADERS)
    for header in HEADERS:
        if header != "cusparse.h":
            (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / header).touch()
    assert missing_headers([tmp_path]) == ["cusparse.h (nvidia-cusparse)"]


def test_a_machine_without_the_toolkit_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"a C\+\+ compiler \(CXX\)"):
        tools()


def test_what_is_no_torch_package_or_no_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"--torch .*: no torch package"):
        target(tmp_path, "python3")
    with pytest.raises(BuildError, match="--python no-such-python does not run"):
        target(None, "no-such-python")


def test_ninja_compiles_each_source_for_each_capability_and_links_them_all(tmp_path: Path) -> None:
    built = Target(
        package=tmp_path / "a $package",
        torch=tmp_path,
        torch_version="2.11.0",
        torch_cuda="13.0",
        python="3.12.1",
        python_headers=tmp_path,
        suffix=".cpython-312.so",
    )
    using = Tools(nvcc=Path("nvcc"), compiler="c++", ninja="ninja")
    text = ninja_file(built, using, [tmp_path], ["89", "90"], ["a.cpp", "cuda/b.cu"], [tmp_path])
    assert "code=sm_89" in text
    assert "code=sm_90" in text
    assert text.count("-std=c++20") == 2  # of each of the two compilers
    assert f"build objects/cuda.b.cu.o: nvcc {tmp_path}/a$ $$package/exllamav2_ext/cuda/b.cu" in text
    assert "build exllamav2_ext.cpython-312.so: link objects/a.cpp.o objects/cuda.b.cu.o" in text
