"""The dashboard's page and what it shows, from a live server."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from laser.config import ServeConfig
from laser.dashboard.routes import PAGE
from models.reasoner import bundled_model
from tests.laser.live_server import LiveServer, running


@pytest.mark.parametrize(("path", "kind"), [(path, kind) for path, (_, kind) in PAGE.items()])
def test_the_page_and_its_files_are_served_and_nothing_else_may_be_loaded(
    confident: LiveServer, path: str, kind: str
) -> None:
    reply = httpx.get(f"{confident.url}{path}", trust_env=False)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(kind)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.search(r"https?://(?!www\.w3\.org/)", reply.text)  # no external assets, only XML's name spaces


def test_every_file_that_the_page_names_is_served(confident: LiveServer) -> None:
    page = httpx.get(f"{confident.url}/", trust_env=False).text
    named = re.findall(r'(?:src|href)="/?([\w.]+\.(?:css|js))"', page)
    assert named
    assert {f"/{name}" for name in named} <= set(PAGE)


def test_the_status_tells_of_requests_that_have_ended_and_why() -> None:
    with running(ServeConfig(model=bundled_model(), name="little", threshold=0.9)) as live:
        ids = [live.post(max_tokens=200).json()["laser"]["exit_reason"] for _ in range(2)]
        with httpx.stream("GET", f"{live.url}/laser/events", trust_env=False, timeout=30.0) as events:
            for line in events.iter_lines():
                if line.startswith("data: ") and json.loads(line[6:]).get("ended"):
                    break
        status = httpx.get(f"{live.url}/laser/status", trust_env=False).raise_for_status().json()
    assert [one["exit_reason"] for one in status["ended"]][-2:] == ids
