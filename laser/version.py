"""The version of LASER that runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("laser-serving")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+checkout"
