"""OpenTelemetry spans: FastAPI creates one per request, this module adds attributes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

from opentelemetry.trace import get_current_span

from laser.server.telemetry.request_log import LogField, RequestLog

log = logging.getLogger(__name__)

COLLECTORS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
)  # fmt: skip
"""The variables of the environment that name a collector."""

# Attributes by the semantic conventions for generative AI, if these have a name; never the text of prompt or reply.
NAMES = {
    LogField.REPLY: "gen_ai.response.id",
    LogField.PROMPT_TOKENS: "gen_ai.usage.input_tokens",
    LogField.COMPLETION_TOKENS: "gen_ai.usage.output_tokens",
    LogField.REASONING_TOKENS: "gen_ai.usage.reasoning.output_tokens",
    LogField.EXIT_REASON: "laser.exit_reason",
    LogField.PROBES: "laser.probes",
    LogField.QUEUE_MS: "laser.queue_ms",
    LogField.KEY: "laser.key",
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


def end_within(limit_s: float, status: Callable[[], int]) -> None:
    """Ends the process with `status()` after `limit_s`, if exporters still wait for their collector then.

    They would wait for as long as the collector makes them: each tries several times, and a collector may answer never.
    """
    if any(os.environ.get(name) for name in COLLECTORS):
        threading.Thread(target=_end, args=(limit_s, status), name="end of exports", daemon=True).start()


def _end(limit_s: float, status: Callable[[], int]) -> None:
    threading.Event().wait(limit_s)  # the process ends before, unless an exporter holds it
    log.warning("the collector has not taken the last spans and metrics within %g s: they are lost", limit_s)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status())


def name_service() -> None:
    """Names the service `laser`, unless the environment names it."""
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "laser")
