"""Short ways to make requests and probes of random tokens, and to decode some."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.base import Engine, ProbeSpec, Request
from tests.engine.ledger import Ledger
from tests.tiny_models import VOCABULARY

ROOM = 12  # of every request for probes, tokens


def tokens(count: int, seed: int) -> tuple[int, ...]:
    """Random tokens, the same for the same seed."""
    return tuple(np.random.default_rng(seed).integers(0, VOCABULARY, count).tolist())


def request(prompt: int = 5, new: int = 8, *, seed: int = 0, **options: Any) -> Request:
    """A request with a random prompt of so many tokens."""
    return Request(**{"prompt": tokens(prompt, seed), "max_new_tokens": new, "probe_room": ROOM, **options})


def spec(suffix: int = 3, answer: int = 4, *, seed: int = 0, **options: Any) -> ProbeSpec:
    """A probe with a random suffix of so many tokens, and no terminator unless told."""
    return ProbeSpec(
        **{"suffix": tokens(suffix, seed), "max_answer_tokens": answer, "answer_stops": frozenset(), **options}
    )


def decode(engine: Engine, *requests: Request) -> list[tuple[int, ...]]:
    """The new tokens of each request, all submitted at once."""
    ledger = Ledger(engine)
    sequences = [ledger.submit(request) for request in requests]
    ledger.run()
    return [tuple(ledger.accounts[sequence].tokens) for sequence in sequences]
