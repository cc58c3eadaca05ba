from __future__ import annotations

from pathlib import Path

import pytest

from models.plugins import load_named


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere", "cannot be imported: NameError: name 'nowhere' is not defined"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def", r"cannot be imported: invalid syntax"),
        ("other = 1", "has no 'Mine'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    module = f"plugin_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"module '{module}' {told}"):
        load_named(f"{module}:Mine")
