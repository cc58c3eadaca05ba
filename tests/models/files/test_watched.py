"""A watched file: its content follows the file, and a bad file changes nothing but the error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.files.strict_yaml import ConfigError
from models.files.watched import WatchedFile


def number(path: Path) -> int:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def test_the_content_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    watched = WatchedFile(file, number)
    assert (watched.content, watched.error, watched.refresh()) == (1, None, False)
    file.write_text("22")
    assert watched.content == 1  # until it is told to look
    assert (watched.refresh(), watched.content) == (True, 22)
    assert not watched.refresh()


def test_a_bad_file_leaves_the_former_content_and_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    watched = WatchedFile(file, number)
    file.write_text("nonsense")
    assert watched.refresh()
    assert (watched.content, "nonsense" in str(watched.error)) == (1, True)
    assert not watched.refresh()
    assert watched.error is not None
    file.unlink()
    assert watched.refresh()
    assert "No such file" in str(watched.error)
    file.write_text("333")
    assert watched.refresh()
    assert (watched.content, watched.error) == (333, None)


def test_another_file_of_the_same_length_and_time_is_seen(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("1")
    other.write_text("2")
    for each in (file, other):
        os.utime(each, (1_000, 1_000))
    watched = WatchedFile(file, number)
    other.replace(file)
    assert (watched.refresh(), watched.content) == (True, 2)


def test_a_file_that_is_bad_at_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        WatchedFile(tmp_path / "none", number)
