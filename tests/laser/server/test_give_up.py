"""A server whose thoughts are given up says so in every dialect, in its metrics and in its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.registry import ENGINES
from laser.server.config import load_config
from tests.support.live_server import WAIT_S, running

SAYS = "Let me see, let me see, let me see, let me see.\n\nWait, " + "let me see, " * 12 + "I know.\n</think>\n\nAye!"
ASKED = [{"role": "user", "content": "?"}]
SHORT: dict[str, Any] = {"model": "parrot", "laser": {"answer": "short"}}
REPLIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASKED, "max_tokens": 400},
    "/v1/responses": {"input": "?", "max_output_tokens": 400},
    "/v1/messages": {"messages": ASKED, "max_tokens": 400},
    "/api/chat": {"messages": ASKED, "stream": False},
    "/api/generate": {"prompt": "?", "stream": False},
}


def test_every_dialect_tells_that_a_thought_was_given_up(
    tmp_path: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "parrot", "tests.support.parrot_engine:ParrotOptions")  # half sure of all it says
    file = tmp_path / "serve.yaml"
    file.write_text(
        "thinking: default\npolicy: {kind: 'tests.support.give_up_policy:Impatient'}\n"
        f"engine:\n  kind: parrot\n  max_batch: 2\n  says: {json.dumps(SAYS)}\n"
    )
    with running(load_config(file, {"model": random_model, "name": "parrot"})) as server:
        for path, body in REPLIES.items():
            reply = httpx.post(server.url + path, json=SHORT | body, trust_env=False, timeout=WAIT_S)
            assert reply.status_code == 200, reply.text
            laser = reply.json()["laser"]
            assert (path, laser["exit_reason"], laser["probes"] > 0) == (path, "hopeless", True)
            assert laser["confidence"] == pytest.approx(0.5)
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert f'laser_replies_total{{exit_reason="hopeless",finish_reason="stop"}} {len(REPLIES)}.0' in metrics
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]["any"]
        assert limits["give_up"] == {"height": 0.9, "rise": 0.01, "median": 3.0}
