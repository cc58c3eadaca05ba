"""Compiles and links exllamav2's CUDA extension, without a GPU, and writes beside it what was built with what.

    benchmarks/build_extension.sh [--arch "8.6;8.9;9.0;12.0"] [--out FOLDER] [--wheelhouse DIR]

A second run compiles only what changed or failed. Headers that the toolkit lacks are found in NVIDIA's Python packages,
or where --include says. --torch and --python build for another machine: a torch package unpacked somewhere, and an
interpreter of that machine's version. Needs nvcc, a C++ compiler, ninja, and exllamav2 with its sources.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.gpu import wheelhouse
from benchmarks.gpu.linking import LIBRARIES, leftovers, make_stubs
from benchmarks.gpu.toolchain import (
    GENERATED,
    NAME,
    BuildError,
    Target,
    Tools,
    include_folders,
    interpreter,
    missing_headers,
    target,
    tools,
)
from benchmarks.gpu.unpacking import RECORD
from experiments.provenance import cores, processor
from models.errors import LaserError

NO_HALF = ("HALF_OPERATORS", "HALF_CONVERSIONS", "BFLOAT16_CONVERSIONS", "HALF2_OPERATORS")
"""What CUDA's headers are told to leave out of half precision, as torch builds extensions."""


def sources(package: Path) -> list[str]:
    """Returns the extension's source files as exllamav2's own `ext.py` lists them."""
    file = package / "ext.py"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "sources_":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise BuildError(f"{file} lists no sources: is this exllamav2 0.3.2?")


def architectures(text: str) -> list[str]:
    """Returns compute capabilities ("8.9;9.0") in nvcc's digits ("89", "90"). Raises BuildError for anything else."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        if not re.fullmatch(r"\d{1,2}\.\d", part):
            raise BuildError(f"--arch: {part!r} is no compute capability; give such as 8.9 or 8.6;9.0")
        found.append(part.replace(".", ""))
    if not found:
        raise BuildError("--arch names no compute capability; give such as 8.9 or 8.6;9.0")
    return found


def ninja_file(
    built: Target,
    using: Tools,
    folders: Sequence[Path],
    arch: Sequence[str],
    names: Sequence[str],
    libraries: Sequence[Path],
) -> str:
    """Returns the build as ninja reads it; the flags are exllamav2's and torch's own, without -lineinfo."""

    def words(*parts: object) -> str:
        return shlex.join(map(str, parts)).replace("$", "$$")

    def path(file: Path) -> str:
        return re.sub(r"([$ :])", r"$\1", str(file))

    include = words(*(part for folder in folders for part in ("-isystem", folder)))
    defined = f"-DTORCH_EXTENSION_NAME={NAME} -DTORCH_API_INCLUDE_EXTENSION_H"
    codes = words(*(f"-gencode=arch=compute_{one},code=sm_{one}" for one in arch))
    no_half = words(*(f"-D__CUDA_NO_{part}__" for part in NO_HALF))
    search = words(*(f"-L{folder}" for folder in libraries))
    linked = words(*(f"-l{name}" for name in (*LIBRARIES, "cudart")))
    lines = [
        "ninja_required_version = 1.5",
        "rule cxx",
        f"  command = {words(using.compiler)} -MMD -MF $out.d {defined} {include} -std=c++20 -fPIC -Ofast"
        " -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $name",
        "rule nvcc",
        f"  command = {words(using.nvcc)} -ccbin {words(using.compiler)} --generate-dependencies-with-compile"
        f" --dependency-output $out.d {defined} {no_half} --expt-relaxed-constexpr {include} {codes} -std=c++20"
        " -O3 --compiler-options -fPIC -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $name",
        "rule link",
        f"  command = {words(using.compiler)} $in -shared -Wl,--no-as-needed {search} {linked} -o $out",
        "  description = $name",
    ]
    objects = []
    for name in names:
        made = f"objects/{name.replace('/', '.')}.o"
        rule = "nvcc" if name.endswith(".cu") else "cxx"
        lines += [f"build {made}: {rule} {path(built.package / NAME / name)}", f"  name = {name}"]
        objects.append(made)
    lines += [f"build {NAME}{built.suffix}: link {' '.join(objects)}", f"  name = linking {NAME}{built.suffix}"]
    return "\n".join([*lines, f"default {NAME}{built.suffix}", ""])


def first_line(command: Sequence[str | Path], pattern: str) -> str:
    """Returns what `pattern` finds in a program's output, or "unknown"."""
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    found = re.search(pattern, ran.stdout)
    return found[0] if found else "unknown"


def run_ninja(using: Tools, out: Path, jobs: int) -> int:
    """Builds in `out` and returns ninja's exit code; all that the compilers say goes into build.log."""
    command = [using.ninja, "-C", str(out), "-j", str(jobs), "-k", "0"]
    told = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
    with (
        (out / "build.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=told) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if line.startswith("[") or line.startswith("FAILED"):
                print(line, end="", flush=True)
    return process.returncode


def prepare(built: Target, using: Tools, *, arch: str, out: Path, further: Sequence[Path]) -> list[str]:
    """Lays what ninja needs into `out` and returns the libraries that are stubs. Raises BuildError if headers lack."""
    codes, names = architectures(arch), sources(built.package)
    out.mkdir(parents=True, exist_ok=True)
    made = out / "made"
    header = made / GENERATED
    generated = built.torch / "include" / GENERATED
    if not generated.is_file() and not header.is_file():  # written once: a newer one would have all compiled anew
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text("#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n", encoding="utf-8")
    folders = include_folders(built, using.toolkit, further, made)
    lacking = missing_headers(folders)
    if lacking:
        raise BuildError(f"headers are missing: {', '.join(lacking)}; --include names the folder that holds them")
    stubs = make_stubs(using.compiler, built.torch / "lib", out / "stubs")
    text = ninja_file(built, using, folders, codes, names, [*library_folders(built, using), out / "stubs"])
    (out / "build.ninja").write_text(text, encoding="utf-8")
    return stubs


def library_folders(built: Target, using: Tools) -> list[Path]:
    """Returns the folders of the real libraries that are at hand."""
    folders = (built.torch / "lib", using.toolkit / "lib64", using.toolkit / "lib")
    return [folder for folder in folders if folder.is_dir()]


def build(built: Target, using: Tools, *, arch: str, out: Path, further: Sequence[Path], jobs: int) -> dict[str, Any]:
    """Builds the extension in `out` and returns its record. Raises BuildError if something is missing or fails."""
    stubs, count = prepare(built, using, arch=arch, out=out, further=further), len(sources(built.package))
    kept = len(list((out / "objects").glob("*.o")))
    load, start, spent = os.getloadavg(), time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = run_ninja(using, out, jobs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise BuildError(f"not all of the {count} sources compile and link: see {out / 'build.log'}")
    file = out / f"{NAME}{built.suffix}"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": count,
        "compiled_before": kept,  # by earlier runs; the times are this run's
        "arch": arch,
        "versions": versions(built, using),
        "processor": processor(),
        "cores": cores(),
        "jobs": jobs,
        "load_average": {"before": load, "after": os.getloadavg()},
        "wall_s": round(time.monotonic() - start, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime, 1),
        "file": file.name,
        "bytes": file.stat().st_size,
        "linked": {
            "real": [name for name in LIBRARIES if name not in stubs],
            "stubs": stubs,  # empty libraries of the right name: the real ones are found when the extension is loaded
            "symbols_in_no_library_here": leftovers(file, library_folders(built, using)),
        },
    }


def versions(built: Target, using: Tools) -> dict[str, str]:
    """Returns the versions of all that had a part in the build."""
    return {
        "nvcc": first_line([using.nvcc, "--version"], r"V\d+\.\d+\.\d+"),
        "torch": built.torch_version,
        "torch_cuda": built.torch_cuda,
        "exllamav2": version("exllamav2"),
        "compiler": first_line([using.compiler, "--version"], r".+"),
        "python": built.python,
        "ninja": first_line([using.ninja, "--version"], r".+"),
    }


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="8.6;8.9;9.0;12.0", help="compute capabilities [8.6;8.9;9.0;12.0]")
    parser.add_argument("--out", type=Path, default=Path("build/extension"), help="folder [build/extension]")
    parser.add_argument("--torch", type=Path, help="folder of another torch package than the installed one")
    parser.add_argument("--python", default=sys.executable, help="an interpreter of the version that will load it")
    parser.add_argument("--include", type=Path, action="append", default=[], help="a folder of further CUDA headers")
    parser.add_argument("--jobs", type=int, default=cores(), help="compilers side by side [as many as cores]")
    parser.add_argument("--wheelhouse", type=Path, metavar="DIR", help="lay into it what gpu.sh --offline DIR needs")
    parser.add_argument(
        "--has",
        type=Path,
        default=wheelhouse.HAS,
        help="what that machine has, by pip freeze [torch 2.11 and its needs]",
    )
    return parser


def main() -> None:
    arguments = options().parse_args()
    out = arguments.out.resolve()
    try:
        number = interpreter(arguments.python)[0]
        try:
            built = target(arguments.torch, arguments.python)
            record = build(built, tools(), arch=arguments.arch, out=out, further=arguments.include, jobs=arguments.jobs)
            (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(record, indent=2))
            ready: Path | None = out
        except BuildError as error:
            if arguments.wheelhouse is None:
                raise
            print(f"build_extension: {error}: the folder holds no extension, gpu.sh --offline builds it")
            ready = None
        if arguments.wheelhouse is not None:
            laid = wheelhouse.lay(arguments.wheelhouse, python=number, has_file=arguments.has, built=ready)
            print(json.dumps(laid, indent=2))
    except LaserError as error:
        sys.exit(f"build_extension: {error}")


if __name__ == "__main__":
    main()
