"""Made records of requests."""

from __future__ import annotations

from experiments.request_record import RequestRecord


def record(number: int, latency_s: float = 1.0, *, right: bool | None = True, **changes: object) -> RequestRecord:
    """A request's record, right unless told otherwise."""
    fields: dict[str, object] = {
        "number": number,
        "question": number % 7,
        "benchmark": ("recall", "words")[number % 2],
        "split": None,
        "difficulty": ("easy", "medium", "hard", None)[number % 4],
        "at_s": float(number),
        "queue_s": 0.0,
        "first_answer_s": latency_s * 0.9,
        "latency_s": latency_s,
        "thought_tokens": 90,
        "completion_tokens": 100,
        "rows": 120,
        "probes": 2,
        "probe_rows": 15,
        "exit_reason": "confidence",
        "threshold": 0.9,
        "budget": None,
        "right": right,
        "error": None,
    }
    return RequestRecord(**{**fields, **changes})  # type: ignore[arg-type]
