"""The folder for a machine without a package index: what is packed, what is not, and how large it may be."""

from __future__ import annotations

import json
import platform
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from benchmarks.gpu.unpacking import CONTENTS, misfit, place_extension, unpack
from benchmarks.gpu.wheelhouse import (
    HAS,
    MOST_BYTES,
    ROOT,
    SERVER,
    WheelhouseError,
    at_hand,
    check_size,
    lay,
    needed,
    pins,
    repack,
    requirements,
    to_pack,
    tracked,
)

CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PYTHON = ".".join(platform.python_version_tuple()[:2])
RECORD = {"file": "exllamav2_ext.cpython-312.so", "arch": "8.9;9.0", "versions": {"torch": "2.11.0+cu130"}}


def test_what_the_machine_has_is_not_packed_and_all_else_has_a_pin() -> None:
    has = at_hand(HAS.read_text(encoding="utf-8"))
    packed = {
        line.partition("==")[0] for line in to_pack(needed(has), has, pins(CONSTRAINTS, "3.12.1"), requirements())
    }
    assert {"torch", "numpy", "jinja2", "sympy"} <= set(has)
    assert packed.isdisjoint(has)
    assert packed == set(needed(has)) - set(has)
    assert {"exllamav2", "transformers", "pytest"} <= packed


def test_a_machine_with_scipy_gets_the_servers_packages_and_one_without_neither() -> None:
    assert set(SERVER).isdisjoint(needed({}))
    assert set(SERVER) < set(needed({"scipy": Version("1.16")}))
    assert "scipy" not in needed({"scipy": Version("1.16")})


def test_a_release_that_is_too_old_for_laser_is_packed_anew() -> None:
    wanted = [Requirement("transformers>=5.0"), Requirement("tokenizers>=0.21")]
    has = at_hand("transformers==4.57.6\ntokenizers==0.23.2\n# a comment\n-e /some/checkout\n")
    pinned = {"transformers": "5.23.0", "tokenizers": "0.23.3"}
    assert to_pack(["transformers", "tokenizers"], has, pinned, wanted) == ["transformers==5.23.0"]


def test_a_package_without_a_pin_is_refused() -> None:
    with pytest.raises(WheelhouseError, match=r"constraints\.txt has no release of nothing-such"):
        to_pack(["nothing-such"], {}, {}, [])


def test_pins_are_those_of_the_python_that_is_packed_for() -> None:
    text = "scipy==1.17.1 ; python_full_version < '3.12'\nscipy==1.18.1 ; python_full_version >= '3.12'\n"
    assert pins(text, "3.11.7") == {"scipy": "1.17.1"}
    assert pins(text, "3.12.1") == {"scipy": "1.18.1"}


FOLDER = 30 << 20  # bytes that packages and extension take for Python 3.12, rounded up


def test_folder_and_checkout_together_may_not_be_larger_than_what_travels(tmp_path: Path) -> None:
    checkout = sum(file.stat().st_size for file in tracked())
    assert checkout < MOST_BYTES - FOLDER  # leaves the folder its share
    (tmp_path / "small.whl").write_bytes(b"1234")
    assert check_size(tmp_path, tracked()) == checkout + 4
    with (tmp_path / "large.whl").open("wb") as large:
        large.truncate(MOST_BYTES - checkout)
    with pytest.raises(WheelhouseError, match=r"take 60\.0 MiB, may take 60; the largest, MiB: large\.whl"):
        check_size(tmp_path, tracked())


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(WheelhouseError, match="holds something else"):
        lay(tmp_path, python="3.12.1", has_file=HAS, built=None)


def test_a_wheel_is_unpacked_without_its_tests_and_other_models(tmp_path: Path) -> None:
    kept = ["transformers/models/__init__.py", "transformers/models/qwen3/modeling_qwen3.py", "pandas/core/api.py"]
    dropped = ["transformers/models/bert/modeling_bert.py", "pandas/tests/test_api.py"]
    with zipfile.ZipFile(tmp_path / "full.whl", "w") as full:
        for name in (*kept, *dropped):
            full.writestr(name, name)
    house = tmp_path / "house"
    (house / "wheels").mkdir(parents=True)
    repack(tmp_path / "full.whl", house / "wheels" / "full.whl")
    (house / CONTENTS).write_text(json.dumps({"python": PYTHON}), encoding="utf-8")
    assert unpack(house, tmp_path / "site") == 1
    assert sorted(str(file.relative_to(tmp_path / "site")) for file in (tmp_path / "site").rglob("*.py")) == sorted(
        kept
    )


def test_a_folder_for_another_python_or_of_another_kind_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"is no folder that build_extension\.sh --wheelhouse laid"):
        unpack(tmp_path, tmp_path)
    (tmp_path / CONTENTS).write_text(json.dumps({"python": "2.7"}), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"was laid for Python 2\.7, and this is Python 3\."):
        unpack(tmp_path, tmp_path)


def test_an_extension_is_left_aside_where_it_cannot_be_loaded(tmp_path: Path) -> None:
    fits = {"suffix": ".cpython-312.so", "torch": "2.11.1", "capability": "9.0"}
    assert misfit(RECORD, **fits) is None
    assert "this Python loads" in str(misfit(RECORD, **{**fits, "suffix": ".cpython-311.so"}))
    assert "built against torch 2.11.0+cu130, and this is torch 2.13.0" in str(
        misfit(RECORD, **{**fits, "torch": "2.13.0"})
    )
    assert "built for compute capability 8.9;9.0, and this GPU has 12.0" in str(
        misfit(RECORD, **{**fits, "capability": "12.0"})
    )
    assert "No extension was laid" in place_extension(tmp_path, tmp_path, "9.0")
