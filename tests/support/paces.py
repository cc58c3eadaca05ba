"""Paces that have seen some steps."""

from __future__ import annotations

from controller.serving.pace import Pace


def steady(service_s: float) -> Pace:
    """Requests have long taken so much, in steps of half a second."""
    pace = Pace()
    pace.stepped(0.5)
    for _ in range(20):
        pace.finished(steps=round(2 * service_s), rows=100, answer_tokens=10)
    return pace
