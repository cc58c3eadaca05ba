"""LASER's plain package names beside a user's own modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def imported(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Python with a folder first on its path, as when it is started there; LASER is found behind it."""
    root = Path(__file__).parents[2]
    start = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(root)!r}]; "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, cwd=folder)


@pytest.mark.parametrize("name", ["models", "engine", "controller", "experiments"])
def test_a_users_own_module_of_the_same_name_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("mine = 1\n")
    refused = imported("import laser", tmp_path)
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: LASER's package {name!r} lies in ")
    assert str(tmp_path / f"{name}.py") in last
    assert last.endswith("start Python in another folder, or rename yours")


def test_a_module_that_is_imported_already_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("mine = 1\n")
    refused = imported("import models; import laser", tmp_path)
    assert "ImportError: LASER's package 'models' lies in " in refused.stderr


def test_a_folder_of_the_same_name_that_holds_no_package_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.txt").write_text("1 2 3\n")
    assert imported("import laser, models.thinking", tmp_path).returncode == 0
