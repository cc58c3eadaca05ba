"""A server tells why it closed a thought in every dialect, in its metrics and in its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.registry import ENGINES
from laser.server.config import load_config
from tests.support.dialects import in_every_dialect, replied
from tests.support.live_server import running

SAYS = "Let me see, let me see, let me see, let me see.\n\nWait, " + "let me see, " * 12 + "I know.\n</think>\n\nAye!"
CURVE = {"give_up": {"height": 0.9, "rise": 0.01, "median": 3.0}}
INDEX = {"index": {"price": 0.001, "median": 12.0, "ages": [1.0], "bars": [None, 0.25]}}


@pytest.mark.parametrize(
    ("policy", "reason", "fewest", "told"),
    [
        ("tests.support.give_up_policy:Impatient", "hopeless", 0, CURVE),
        ("tests.support.price_policy:Pricing", "price", 12, INDEX),
    ],
    ids=["a thought that was given up", "more thought was not worth its tokens"],
)
def test_every_dialect_tells_why_a_thought_was_closed(
    tmp_path: Path,
    random_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    reason: str,
    fewest: int,
    told: dict[str, Any],
) -> None:
    monkeypatch.setitem(ENGINES, "parrot", "tests.support.parrot_engine:ParrotOptions")  # half sure of all it says
    file = tmp_path / "serve.yaml"
    file.write_text(
        f"thinking: default\npolicy: {{kind: '{policy}'}}\n"
        f"engine:\n  kind: parrot\n  max_batch: 2\n  says: {json.dumps(SAYS)}\n"
    )
    asked = in_every_dialect("parrot", "?", 400)
    with running(load_config(file, {"model": random_model, "name": "parrot"})) as server:
        for path, body in asked.items():
            laser = replied(server, path, body)["laser"]
            assert (path, laser["exit_reason"], laser["probes"] > 0) == (path, reason, True)
            assert laser["confidence"] == pytest.approx(0.5)
            assert laser["reasoning_tokens"] >= fewest
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert f'laser_replies_total{{exit_reason="{reason}",finish_reason="stop"}} {len(asked)}.0' in metrics
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]["any"]
        assert limits.items() >= told.items()
