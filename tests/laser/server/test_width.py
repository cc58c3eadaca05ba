"""A server whose thoughts race says so in every dialect, counts what was lost, and streams the winner alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from experiments.evaluation.questions import bundled_questions
from laser.server.config import load_config
from models.reasoner import bundled_model
from tests.support.dialects import in_every_dialect
from tests.support.live_server import WAIT_S, running

QUESTION = bundled_questions(1, 0)[0].text
REPLIES = in_every_dialect("racer", QUESTION, 400)


def completion(reply: dict[str, Any]) -> int:
    """Returns the tokens of a reply's completion in its dialect's words."""
    told = reply.get("usage", reply)
    names = ("completion_tokens", "output_tokens", "eval_count")
    (found,) = {told[name] for name in names if name in told}
    return int(found)


def test_every_dialect_tells_that_thoughts_raced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="laser.gate")
    file = tmp_path / "serve.yaml"
    file.write_text(
        "policy: {kind: 'tests.support.race_policy:Threefold'}\nengine: {kind: torch, max_batch: 4}\nthreads: 1\n"
        "vllm_metrics: true\n"
    )
    with running(load_config(file, {"model": bundled_model(), "name": "racer"})) as server:

        def ask(path: str, body: dict[str, Any]) -> httpx.Response:
            reply = httpx.post(server.url + path, json=body, trust_env=False, timeout=WAIT_S)
            assert reply.status_code == 200, reply.text
            return reply

        lost, used = 0, []
        for path, body in REPLIES.items():
            reply = ask(path, body).json()
            laser = reply["laser"]
            assert (path, laser["width"], laser["reproducible"]) == (path, 3, False)
            assert laser["raced_tokens"] > 0
            assert laser["ttft_ms"] == laser["total_ms"]
            assert 0 < laser["reasoning_tokens"] < completion(reply) - laser["raced_tokens"]
            lost += laser["raced_rows"]
            used.append(completion(reply))

        chat = REPLIES["/v1/chat/completions"]
        whole = ask("/v1/chat/completions", chat).json()
        alone = ask("/v1/chat/completions", chat | {"laser": {"answer": "open"}}).json()
        lost += whole["laser"]["raced_rows"]
        assert (alone["laser"]["width"], alone["laser"]["raced_tokens"]) == (1, 0)
        usage = whole["usage"]
        assert usage["prompt_tokens"] == alone["usage"]["prompt_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["completion_tokens"] > whole["laser"]["raced_tokens"] + whole["laser"]["reasoning_tokens"]

        events = [
            json.loads(line[6:])
            for line in ask("/v1/chat/completions", chat | {"stream": True}).text.splitlines()
            if line.startswith("data: {")
        ]
        said = "".join(choice["delta"].get("content") or "" for one in events for choice in one["choices"])
        assert said == whole["choices"][0]["message"]["content"]
        lost += next(one["laser"]["raced_rows"] for one in events if one.get("laser"))

        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert f'laser_token_rows_total{{kind="raced"}} {lost}.0' in metrics
        fields = [getattr(record, "fields", {}) for record in caplog.records]
        told = [each["completion_tokens"] for each in fields if "reply" in each]
        assert told[: len(used)] == used
        assert f'vllm:generation_tokens_total{{model_name="racer"}} {sum(told)}.0' in metrics
        assert "laser_tpot_seconds_count 1.0" in metrics  # of the one that had its thought alone
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]["any"]
        assert (limits["width"], limits["vote"]) == (3, True)
