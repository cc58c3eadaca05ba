"""A server on a GPU; apart from the engine's tests, since it needs scipy, which a machine may lack."""

from __future__ import annotations

from controller.policies.auto import Auto
from engine.registry import engine_options
from laser.server.config import ServeConfig
from tests.support.live_server import running
from tests.support.on_gpu import only_gpu

QUESTION = "Tom has 19 books. Tom buys 33 more. Tom loses 24. How many books does Tom have at the end?"


@only_gpu
def test_early_exit_answers_over_http_as_the_torch_engine_does() -> None:
    """The same number, not the same tokens: where two tokens tie, half precision may take the other."""
    for kind in ("torch", "exllama"):
        with running(ServeConfig(engine=engine_options(kind, {}), cells=16_384, policy=Auto(threshold=0.9))) as server:
            reply = server.post(messages=[{"role": "user", "content": QUESTION}], max_tokens=512).json()
        assert "28" in reply["choices"][0]["message"]["content"], kind
        assert reply["laser"]["exit_reason"] == "confidence"
        assert reply["laser"]["probes"] > 0
