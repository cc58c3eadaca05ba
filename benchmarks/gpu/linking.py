"""Links against libraries that are not all at hand, and tells which symbols only the real ones can give."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.toolchain import BuildError

LIBRARIES = ("c10", "c10_cuda", "torch_cpu", "torch_cuda", "torch", "torch_python")
"""torch's libraries, which an extension must name: torch loads them privately."""


def make_stubs(compiler: str, libraries: Path, folder: Path) -> list[str]:
    """Makes an empty library in `folder` for each of LIBRARIES that is not in `libraries`; returns their names."""
    lacking = [name for name in LIBRARIES if not (libraries / f"lib{name}.so").is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        file = folder / f"lib{name}.so"
        if name not in lacking:
            file.unlink(missing_ok=True)
        elif not file.is_file():
            made = [compiler, "-shared", "-x", "c++", "/dev/null", f"-Wl,-soname,{file.name}", "-o", str(file)]
            ran = subprocess.run(made, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise BuildError(f"{compiler} makes no empty library: {ran.stderr.strip()}")
    return lacking


def leftovers(file: Path, folders: Sequence[Path]) -> list[str]:
    """Returns the symbols that `file` wants and no library in `folders` has, but for Python's and the system's.

    Raises BuildError if there is no nm.
    """
    wanted = {
        name for kind, name in symbols(file) if kind == "U" and "@" not in name and not name.startswith(("Py", "_Py"))
    }
    for folder in folders:
        for library in sorted(folder.glob("*.so*")):
            wanted -= (
                {name.partition("@")[0] for kind, name in symbols(library) if kind not in "Uw"} if wanted else set()
            )
    return sorted(wanted)


def symbols(file: Path) -> list[tuple[str, str]]:
    """Returns the dynamic symbols of a library: nm's letter and the name, which has its version behind an @."""
    try:
        read = subprocess.run(["nm", "-D", str(file)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError("nm is missing, which comes with the linker: binutils") from error
    return [(parts[-2], parts[-1]) for line in read.stdout.splitlines() if len(parts := line.split()) >= 2]
