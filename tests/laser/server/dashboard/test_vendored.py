"""The page's files: all come from this server, and those of others are as they came."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from laser.server.dashboard.assets import PAGE, read
from tests.support.live_server import LiveServer

FOLDER = Path(__file__).parents[4] / "laser" / "server" / "dashboard" / "page"


@pytest.mark.parametrize("path", PAGE)
def test_the_page_comes_from_this_server_alone(server: LiveServer, path: str) -> None:
    response = httpx.get(server.url + path, trust_env=False)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == PAGE[path][1]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.content == read(path)


def test_our_own_files_name_no_other_place() -> None:
    for file in FOLDER.glob("*.*"):
        assert "https://" not in file.read_text(encoding="utf-8"), file


def test_files_of_others_are_as_they_came() -> None:
    told = dict(
        re.findall(
            r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (FOLDER / "vendor" / "README.md").read_text("utf-8"), re.M
        )
    )
    there = {file.name for file in (FOLDER / "vendor").iterdir()} - {"README.md", "LICENSE.marked", "LICENSE.temml"}
    assert told == {name: sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() for name in there}
    assert {name.removeprefix("vendor/") for names, _ in PAGE.values() for name in names if "vendor" in name} == there
