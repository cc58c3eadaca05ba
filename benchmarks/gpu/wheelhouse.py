"""Lays into a folder what `benchmarks/gpu.sh --offline` needs on a machine without a package index.

wheels/ holds the packages that the stages import and the machine lacks, trimmed; extension/ the built extension with
its record. What the machine has stands in has.txt, or in a file that `pip freeze` wrote there. The checkout itself is
not packed: gpu.sh runs from it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmarks.gpu.unpacking import CONTENTS, EXTENSION, RECORD, WHEELS
from experiments.provenance import commit
from models.errors import LaserError

ROOT = Path(__file__).parents[2]
HAS = Path(__file__).with_name("has.txt")
MOST_BYTES = 60 << 20  # of the folder and the checkout's files together
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
]

# What the stages import beside torch and what torch brings, seen by an import hook; no more of what these ask for.
NEEDED = (
    *("transformers", "tokenizers", "safetensors", "huggingface-hub", "regex", "pyyaml", "tqdm", "packaging"),
    *("httpx2", "httpcore2", "h11", "anyio", "idna", "certifi", "truststore"),  # huggingface-hub imports them
    *("exllamav2", "ninja", "pillow", "rich", "pygments", "markdown-it-py", "mdurl", "click"),
    *("pandas", "fastparquet", "cramjam", "python-dateutil", "tzdata"),  # ExLlamaV2's converter imports them
    *("pytest", "pytest-timeout", "pytest-xdist", "execnet", "iniconfig", "pluggy", "hypothesis", "sortedcontainers"),
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection"),  # profiles are read with it
)
# What a server needs; packed only where the machine has scipy, which alone is larger than all else.
SERVER = (
    *(
        "annotated-doc",
        "fastapi",
        "filterpy",
        "httpcore",
        "httptools",
        "httpx",
        "opentelemetry-api",
        "prometheus-client",
    ),
    *("starlette", "uvicorn"),
)
MODELS = ("auto", "encoder_decoder", "llama", "mistral", "qwen2", "qwen3")  # of transformers' hundreds, those imported
TRIMMED = re.compile(rf"(^|/)tests?/|^transformers/models/(?!(?:{'|'.join(MODELS)})/)[^/]+/")


class WheelhouseError(LaserError):
    """The folder cannot be laid; the message says why."""


def needed(has: Mapping[str, Version]) -> tuple[str, ...]:
    """Returns the packages that the stages import on a machine that has `has`."""
    return (*NEEDED, *SERVER) if "scipy" in has else NEEDED


def pins(constraints: str, python: str) -> dict[str, str]:
    """Returns the release of each package that constraints.txt names for a version of Python, such as 3.12.3."""
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, constraints.splitlines())):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(environment):
            found[canonicalize_name(wanted.name)] = str(wanted.specifier).removeprefix("==")
    return found


def at_hand(freeze: str) -> dict[str, Version]:
    """Returns the packages that `pip freeze` lists, with their releases; what has no release is left out."""
    lines = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in freeze.splitlines())
    return {canonicalize_name(line[1]): Version(line[2]) for line in lines if line}


def to_pack(
    names: Iterable[str], has: Mapping[str, Version], pinned: Mapping[str, str], wanted: Sequence[Requirement]
) -> list[str]:
    """Returns what must be packed, as NAME==RELEASE: all that is not at hand, or older than LASER asks for."""
    bounds = {canonicalize_name(one.name): one.specifier for one in wanted}
    packed = []
    for name in map(canonicalize_name, names):
        there = has.get(name)
        if there is None or (name in bounds and not bounds[name].contains(there, prereleases=True)):
            if name not in pinned:
                raise WheelhouseError(f"constraints.txt has no release of {name}")
            packed.append(f"{name}=={pinned[name]}")
    return sorted(packed)


def requirements() -> list[Requirement]:
    """Returns what pyproject.toml asks for, with the group `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(line) for line in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])]


def check_size(folder: Path, checkout: Iterable[Path]) -> int:
    """Returns the bytes of folder and checkout together. Raises WheelhouseError if they are more than MOST_BYTES."""
    laid = sorted(((file.stat().st_size, file) for file in folder.rglob("*") if file.is_file()), reverse=True)
    total = sum(size for size, _ in laid) + sum(file.stat().st_size for file in checkout)
    if total > MOST_BYTES:
        largest = ", ".join(f"{file.name} {size / 2**20:.1f}" for size, file in laid[:5])
        raise WheelhouseError(
            f"{folder} and the checkout take {total / 2**20:.1f} MiB, may take {MOST_BYTES >> 20}; the largest, "
            f"MiB: {largest}; --has names what the machine has already"
        )
    return total


def download(packages: Sequence[str], python: str, folder: Path) -> None:
    """Fetches the wheels of `packages` for a version of Python on x86-64 Linux. Raises WheelhouseError if one fails."""
    short = "".join(python.split(".")[:2])
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    kinds = [part for abi in (f"cp{short}", "abi3", "none") for part in ("--abi", abi)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", *kinds, *platforms]
    fetched = subprocess.run([*command, "--dest", str(folder), *packages], capture_output=True, text=True, check=False)
    if fetched.returncode:
        told = [line for line in fetched.stderr.splitlines() if line.startswith("ERROR")] or ["pip does not say why"]
        raise WheelhouseError(f"wheels cannot be fetched: {told[0]}")


def repack(wheel: Path, target: Path) -> None:
    """Writes a wheel anew with stronger compression, without what no stage imports."""
    with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as small:
        for name in full.namelist():
            if not TRIMMED.search(name):
                small.writestr(name, full.read(name))


def pack_extension(built: Path, folder: Path) -> None:
    """Packs a built extension, without the symbols that only a debugger reads, and its record."""
    record = json.loads((built / RECORD).read_text(encoding="utf-8"))
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        stripped = Path(place) / record["file"]
        subprocess.run(["strip", "--strip-unneeded", "-o", str(stripped), str(built / record["file"])], check=True)
        with zipfile.ZipFile(folder / f"{record['file']}.zip", "w", zipfile.ZIP_LZMA) as packed:
            packed.write(stripped, record["file"])
    shutil.copy(built / RECORD, folder)


def tracked() -> list[Path]:
    """Returns the files of this checkout. Raises WheelhouseError if it is none."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise WheelhouseError(f"{ROOT} is no git checkout, so that what travels with the folder is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def lay(folder: Path, *, python: str, has_file: Path, built: Path | None) -> dict[str, object]:
    """Lays the folder anew for a version of Python, with the extension in `built`, and returns what is in it.

    None: no extension, so that gpu.sh builds it where it runs. Raises WheelhouseError if something else is in the
    folder, a wheel cannot be had, or all is too large.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / CONTENTS).is_file():
        raise WheelhouseError(f"--wheelhouse {folder} holds something else")
    has = at_hand(has_file.read_text(encoding="utf-8"))
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    packages = to_pack(needed(has), has, pinned, requirements())
    for part in (WHEELS, EXTENSION):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / WHEELS).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as fetched:
        download(packages, python, Path(fetched))
        for wheel in sorted(Path(fetched).glob("*.whl")):
            repack(wheel, folder / WHEELS / wheel.name)
    if built is not None:
        pack_extension(built, folder / EXTENSION)
    contents: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": ".".join(python.split(".")[:2]),
        "packages": packages,
        "extension": built is not None,
        "left_out": [] if "scipy" in has else ["scipy and the server's packages, so that tests over HTTP are not run"],
    }
    (folder / CONTENTS).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    contents["mib_with_checkout"] = round(check_size(folder, tracked()) / 2**20, 1)
    return contents
