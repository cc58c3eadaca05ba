"""A settings file that goes bad while the controller runs is in the log, and the former settings stay."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from controller.settings import SettingsFile


@pytest.mark.parametrize(
    "bad",
    [
        "rows: [",
        "rwos: 9",
        "rows: many",
        "rows: 1",
        "objective: {slo_s: [1.0]}",
        "estimator: {initial_mix: [1.2, -0.2, 0.0]}",
    ],
)
def test_a_file_that_goes_bad_is_logged_once_and_so_is_its_return(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text("rows: 8", encoding="utf-8")
    file = SettingsFile(path, classes=3)
    with caplog.at_level(logging.INFO, logger="controller"):
        path.write_text(f"# now bad\n{bad}", encoding="utf-8")
        assert not file.refresh()
        assert not file.refresh()
        (said,) = [each.getMessage() for each in caplog.records]
        assert said.startswith("the former controller settings stay in force: ")
        assert str(path) in said
        assert (file.settings.rows, file.error is None) == (8, False)
        path.write_text("# as before, and longer\nrows: 8", encoding="utf-8")
        assert not file.refresh()
        assert "can be read again" in caplog.records[-1].getMessage()
        path.write_text("rows: 16", encoding="utf-8")
        assert file.refresh()
    assert (len(caplog.records), file.error, file.settings.rows) == (2, None, 16)
