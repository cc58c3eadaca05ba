"""Short ways to make requests and probes of random tokens, and to decode some."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings

from engine.base import MARGIN, Engine, ProbeSpec, Request
from tests.support.ledger import Ledger
from tests.support.tiny_models import VOCABULARY

ROOM = 12  # of every request for probes, tokens


def search(examples: int) -> settings:
    """How hypothesis searches: the same few examples everywhere, or LASER_FUZZ=1000 that many, drawn anew each time.

    Only the latter then looks for the shortest schedule that fails, which takes minutes.
    """
    fuzz = int(os.environ.get("LASER_FUZZ", "0"))
    return settings(
        max_examples=fuzz or examples,
        phases=[Phase.generate, Phase.shrink] if fuzz else [Phase.generate],
        derandomize=not fuzz,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


def tokens(count: int, seed: int) -> tuple[int, ...]:
    """Random tokens, the same for the same seed."""
    return tuple(np.random.default_rng(seed).integers(0, VOCABULARY, count).tolist())


def request(prompt: int = 5, new: int = 8, *, seed: int = 0, **options: Any) -> Request:
    """A request with a random prompt of so many tokens."""
    return Request(**{"prompt": tokens(prompt, seed), "max_new_tokens": new, "probe_room": ROOM, **options})


def spec(suffix: int = 3, answer: int = 4, *, seed: int = 0, **options: Any) -> ProbeSpec:
    """A probe with a random suffix of so many tokens, no terminator unless told, and the margin of what is watched."""
    read = frozenset() if options.get("watched") is None else frozenset({MARGIN})
    asked = {"suffix": tokens(suffix, seed), "max_answer_tokens": answer, "answer_stops": frozenset(), "read": read}
    return ProbeSpec(**{**asked, **options})


def decode(engine: Engine, *requests: Request) -> list[tuple[int, ...]]:
    """The new tokens of each request, all submitted at once."""
    ledger = Ledger(engine)
    sequences = [ledger.submit(request) for request in requests]
    ledger.run()
    return [tuple(ledger.accounts[sequence].tokens) for sequence in sequences]
