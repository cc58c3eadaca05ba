"""Spans of OpenTelemetry: FastAPI makes one of each request, and here is what they tell besides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import get_current_span

# By the semantic conventions for generative AI, where these have a name; never what is said.
NAMES = {
    "reply": "gen_ai.response.id",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "exit_reason": "laser.exit_reason",
    "probes": "laser.probes",
    "queue_ms": "laser.queue_ms",
    "key": "laser.key",
}


def trace(request_id: str, told: Mapping[str, Any]) -> None:
    """Write on the running request's span, if there is one, what the log tells of it."""
    span = get_current_span()
    if not span.is_recording():
        return
    span.set_attribute("laser.request_id", request_id)
    if "finish_reason" in told:
        span.set_attribute("gen_ai.response.finish_reasons", [told["finish_reason"]])
    for name, attribute in NAMES.items():
        if told.get(name) is not None:
            span.set_attribute(attribute, told[name])


def name_service() -> None:
    """Be called `laser` where the environment says nothing else."""
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "laser")
