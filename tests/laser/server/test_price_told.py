"""A server whose thoughts are closed by a price says so in every dialect, in its metrics and in its report."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from engine.registry import ENGINES
from laser.server.config import load_config
from tests.laser.server.test_give_up import REPLIES, SAYS, SHORT
from tests.support.live_server import WAIT_S, running


def test_every_dialect_tells_that_more_thought_was_not_worth_its_tokens(
    tmp_path: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "parrot", "tests.support.parrot_engine:ParrotOptions")  # half sure of all it says
    file = tmp_path / "serve.yaml"
    file.write_text(
        "thinking: default\npolicy: {kind: 'tests.support.price_policy:Pricing'}\n"
        f"engine:\n  kind: parrot\n  max_batch: 2\n  says: {json.dumps(SAYS)}\n"
    )
    with running(load_config(file, {"model": random_model, "name": "parrot"})) as server:
        for path, body in REPLIES.items():
            reply = httpx.post(server.url + path, json=SHORT | body, trust_env=False, timeout=WAIT_S)
            assert reply.status_code == 200, reply.text
            laser = reply.json()["laser"]
            assert (path, laser["exit_reason"]) == (path, "price")
            assert laser["confidence"] == pytest.approx(0.5)
            assert laser["reasoning_tokens"] >= 12
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert f'laser_replies_total{{exit_reason="price",finish_reason="stop"}} {len(REPLIES)}.0' in metrics
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]["any"]
        assert limits["index"] == {"price": 0.001, "median": 12.0, "ages": [1.0], "bars": [None, 0.25]}
