"""What builds exllamav2's extension, and for what: programs, packages and headers, or a word on what is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from models.errors import LaserError

NAME = "exllamav2_ext"
HEADERS = {
    "cuda_runtime_api.h": "the CUDA toolkit",
    "thrust/complex.h": "the CUDA toolkit's cccl (nvidia-cuda-cccl)",
    "cublas_v2.h": "nvidia-cublas",
    "cusparse.h": "nvidia-cusparse",
    "cusolverDn.h": "nvidia-cusolver",
    "curand_kernel.h": "nvidia-curand",
    "ATen/cuda/CUDAContext.h": "torch",
    "Python.h": "Python's headers (python3-dev)",
}
"""Headers that show that a folder is at hand, and what brings them."""
GENERATED = "c10/cuda/impl/cuda_cmake_macros.h"
"""A header that only CUDA builds of torch have; it says that torch is a shared library."""


class BuildError(LaserError):
    """The extension cannot be built here; the message says what is missing or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the extension is built for."""

    package: Path  # exllamav2's folder
    torch: Path  # torch's folder
    torch_version: str
    torch_cuda: str  # "none" for a CPU build, whose headers serve as well
    python: str
    python_headers: Path
    suffix: str  # of a module's file


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The programs that build."""

    nvcc: Path
    compiler: str
    ninja: str

    @cached_property
    def toolkit(self) -> Path:
        """The toolkit's folder, which nvcc tells; what lies on PATH may be a script that starts it."""
        command = [str(self.nvcc), "--dryrun", "-x", "cu", "-c", "/dev/null"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        here = re.search(r"_HERE_=(.+)", asked.stderr)
        return Path(here[1]).parent if here else self.nvcc.resolve().parents[1]


def package_folder(name: str, hint: str) -> Path:
    """Returns an installed package's folder, without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"{name} is missing: {hint}")
    return Path(next(iter(spec.submodule_search_locations)))


def target(torch: Path | None, python: str) -> Target:
    """Returns what is built for: torch's folder (None: the installed one) and an interpreter."""
    torch = package_folder("torch", "install it, or name an unpacked one with --torch") if torch is None else torch
    file = torch / "version.py"
    if not file.is_file():
        raise BuildError(f"--torch {torch}: no torch package, for it has no version.py")
    told = dict(re.findall(r"^(__version__|cuda)\b.*= ['\"](.+)['\"]", file.read_text(encoding="utf-8"), re.MULTILINE))
    number, headers, suffix = interpreter(python)
    return Target(
        package=package_folder("exllamav2", "pip install --no-deps exllamav2==0.3.2"),
        torch=torch,
        torch_version=told["__version__"],
        torch_cuda=told.get("cuda", "none"),
        python=number,
        python_headers=Path(headers),
        suffix=suffix,
    )


def interpreter(python: str) -> tuple[str, str, str]:
    """Returns an interpreter's version, the folder of its headers, and the ending of a module's file."""
    ask = (
        "import json, platform, sysconfig as s; print(json.dumps([platform.python_version(), s.get_path('include'),"
        " s.get_config_var('EXT_SUFFIX')]))"
    )
    try:
        asked = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"--python {python} does not run: {error}") from error
    number, headers, suffix = json.loads(asked.stdout)
    return number, headers, suffix


def tools() -> Tools:
    """Returns the programs that build, or raises BuildError with what is missing."""
    homes = [Path(os.environ["CUDA_HOME"]) / "bin"] if "CUDA_HOME" in os.environ else []
    homes += map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep))
    homes += [Path("/usr/local/cuda/bin")]
    nvcc = next((home / "nvcc" for home in homes if (home / "nvcc").is_file()), None)
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    beside = Path(sys.executable).parent / "ninja"
    ninja = str(beside) if beside.is_file() else shutil.which("ninja")
    missing = {"nvcc (the CUDA toolkit; CUDA_HOME names it)": nvcc, "a C++ compiler (CXX)": compiler, "ninja": ninja}
    lacking = [name for name, found in missing.items() if found is None]
    if nvcc is None or compiler is None or ninja is None:
        raise BuildError(
            f"the extension needs {', '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} missing"
        )
    return Tools(nvcc=nvcc, compiler=compiler, ninja=ninja)


def include_folders(built: Target, toolkit: Path, further: Iterable[Path], made: Path) -> list[Path]:
    """Returns the folders in which headers are looked for, in this order; those that do not exist are left out."""
    nvidia = find_spec("nvidia")
    roots = [Path(root) for root in (nvidia.submodule_search_locations or [])] if nvidia else []
    packaged = [folder for root in roots for folder in sorted(root.glob("*/include"))]
    folders = [
        built.package / NAME,
        built.torch / "include",
        built.torch / "include/torch/csrc/api/include",
        built.python_headers,
        toolkit / "include",
        toolkit / "include/cccl",
        *further,
        *packaged,
        made,
    ]
    return [folder for folder in folders if folder.is_dir()]


def missing_headers(folders: Sequence[Path]) -> list[str]:
    """Returns a line for each of HEADERS that no folder holds: the header, and what brings it."""
    return [
        f"{header} ({source})"
        for header, source in HEADERS.items()
        if not any((folder / header).is_file() for folder in folders)
    ]
