"""One question in every dialect that the server speaks."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.live_server import WAIT_S, LiveServer


def in_every_dialect(model: str, question: str, tokens: int) -> dict[str, dict[str, Any]]:
    """Returns each path's body, for a short answer; `tokens`: what a reply may take where the dialect must say it."""
    common: dict[str, Any] = {"model": model, "laser": {"answer": "short"}}
    asked = common | {"messages": [{"role": "user", "content": question}]}
    return {
        "/v1/chat/completions": asked | {"max_tokens": tokens},
        "/v1/responses": common | {"input": question, "max_output_tokens": tokens},
        "/v1/messages": asked | {"max_tokens": tokens},
        "/api/chat": asked | {"stream": False},
        "/api/generate": common | {"prompt": question, "stream": False},
    }


def replied(server: LiveServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Returns the reply to a request that the server takes."""
    response = httpx.post(server.url + path, json=body, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply
