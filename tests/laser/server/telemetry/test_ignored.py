"""Ignored request fields are named once in the log, and in a header that no name can break."""

from __future__ import annotations

import logging

import pytest

from laser.server.telemetry.ignored import HEADER, NAMES, SHOWN, IgnoredFields


def test_an_ignored_name_is_logged_once_and_names_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    ignored = IgnoredFields()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ignored.headers(["my_own", "\ud800\n"]) == {HEADER: "my_own, %5Cud800%0A"}
        assert len(caplog.records) == 2
        for number in range(1000):
            ignored.headers([f"field_{number}"])
    assert len(caplog.records) == NAMES
    (many,) = ignored.headers([f"f{number}" for number in range(100)]).values()
    assert many.count(",") == SHOWN
    assert many.endswith(", and-84-more")
    assert ignored.headers([]) == {}
