"""Unpacks what `build_extension.sh --wheelhouse DIR` laid, on a machine without a package index, without pip.

    python -m benchmarks.gpu.unpacking DIR SITE                   the packages; SITE then goes on PYTHONPATH
    python -m benchmarks.gpu.unpacking DIR SITE --capability 9.0  the extension, if it fits this machine

Imports nothing but Python's own modules.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CONTENTS = "contents.json"
WHEELS, EXTENSION = "wheels", "extension"
RECORD = "build.json"


def unpack(folder: Path, site: Path) -> int:
    """Unpacks all wheels of `folder` into `site` and returns their number; exits with a line if they do not fit."""
    file = folder / CONTENTS
    if not file.is_file():
        sys.exit(f"{folder} is no folder that build_extension.sh --wheelhouse laid: it has no {CONTENTS}")
    laid_for = json.loads(file.read_text(encoding="utf-8"))["python"]
    here = ".".join(platform.python_version_tuple()[:2])
    if laid_for != here:
        sys.exit(f"{folder} was laid for Python {laid_for}, and this is Python {here}: PYTHON names another")
    wheels = sorted((folder / WHEELS).glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(site)
    return len(wheels)


def misfit(record: Mapping[str, Any], *, suffix: str, torch: str, capability: str) -> str | None:
    """Returns why an extension that was built as `record` says cannot be loaded here; None: it can."""
    built_for = str(record["versions"]["torch"])
    if not str(record["file"]).endswith(suffix):
        return f"it is {record['file']}, and this Python loads …{suffix}"
    if built_for.split(".")[:2] != torch.split(".")[:2]:
        return f"it was built against torch {built_for}, and this is torch {torch}"
    if capability not in [one.strip() for one in str(record["arch"]).split(";")]:
        return f"it was built for compute capability {record['arch']}, and this GPU has {capability}"
    return None


def place_extension(folder: Path, site: Path, capability: str) -> str:
    """Copies the extension to `site` if it fits; returns what was done, in words."""
    file = folder / EXTENSION / RECORD
    if not file.is_file():
        return "No extension was laid into the folder: it is built here"
    record = json.loads(file.read_text(encoding="utf-8"))
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    why = misfit(record, suffix=str(sysconfig.get_config_var("EXT_SUFFIX")), torch=torch, capability=capability)
    if why is not None:
        return f"The folder's extension is left aside, for {why}: it is built here"
    with zipfile.ZipFile(folder / EXTENSION / f"{record['file']}.zip") as packed:
        packed.extractall(site)
    return f"The folder's extension serves: {record['file']}, built {record['date']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("site", type=Path, metavar="SITE")
    parser.add_argument("--capability", help="of the GPU: places the extension")
    arguments = parser.parse_args()
    if arguments.capability is None:
        print(f"{unpack(arguments.folder, arguments.site)} packages unpacked")
    else:
        print(place_extension(arguments.folder, arguments.site, arguments.capability))


if __name__ == "__main__":
    main()
