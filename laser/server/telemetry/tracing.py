"""OpenTelemetry spans: FastAPI creates one per request, this module adds attributes."""

from __future__ import annotations

import os

from opentelemetry.trace import get_current_span

from laser.server.telemetry.request_log import RequestLog

# Attributes by the semantic conventions for generative AI, if these have a name; never the text of prompt or reply.
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


def trace(noted: RequestLog) -> None:
    """Sets the request's id and log fields as attributes of the current span, if there is one."""
    span = get_current_span()
    if not span.is_recording():
        return
    span.set_attribute("laser.request_id", noted.request_id)
    if noted.finish_reason is not None:
        span.set_attribute("gen_ai.response.finish_reasons", [noted.finish_reason])
    fields = noted.fields
    for name, attribute in NAMES.items():
        if fields.get(name) is not None:
            span.set_attribute(attribute, fields[name])


def name_service() -> None:
    """Names the service `laser`, unless the environment names it."""
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "laser")
