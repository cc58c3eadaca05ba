"""Files that are replaced: links are followed, what is no regular file is written straight, errors name the file."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from models.files.replacement import WriteError, file_behind, replacing


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def test_a_file_is_replaced_whole_or_not_at_all_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write(file, "old")
    file.chmod(0o640)
    with pytest.raises(KeyError), replacing(file) as draft:  # noqa: PT012
        draft.write_text("half", encoding="utf-8")
        raise KeyError
    assert file.read_text() == "old"
    write(file)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o640)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("levels", [1, 2])
def test_links_stay_and_what_they_lead_to_is_replaced(tmp_path: Path, levels: int) -> None:
    real = tmp_path / "there" / "real"
    real.parent.mkdir()
    real.write_text("old")
    link = real
    for level in range(levels):
        link, last = tmp_path / f"link{level}", link
        link.symlink_to(last)
    write(link)
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert list(real.parent.iterdir()) == [real]


def test_a_link_to_nothing_yet_makes_the_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("later")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "later").read_text() == "new"


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join(10)
    assert got == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_one(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("devices cannot be made here")
    write(device)
    assert stat.S_ISCHR(device.stat().st_mode)


def test_where_open_files_are_named_nothing_is_replaced() -> None:
    for name in ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert file_behind(Path(name)) is None


def test_a_file_in_shared_memory_is_replaced_as_any_other() -> None:
    assert file_behind(Path("/dev/shm/laser-none")) == Path(os.path.realpath("/dev/shm/laser-none"))


def test_an_error_of_the_block_that_is_no_disk_s_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError), replacing(tmp_path / "file"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert list(tmp_path.iterdir()) == []


def test_links_in_a_circle_are_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("file")
    with pytest.raises(WriteError, match=r"file: cannot be written: Too many levels of symbolic links$"):
        write(tmp_path / "file")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_device_is_named() -> None:
    with pytest.raises(WriteError, match=r"^/dev/full: cannot be written: No space left on device$"):
        write(Path("/dev/full"))


def test_a_full_disk_is_named_and_the_former_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write(file, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=rf"^{file}: cannot be written: File too large$"):
            write(file, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_folder_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"none/file: cannot be written: No such file or directory$"):
        write(tmp_path / "none" / "file")


def test_a_long_name_is_no_hindrance(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 250))
    assert (tmp_path / ("n" * 250)).read_text() == "new"
