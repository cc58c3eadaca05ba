"""OpenTelemetry: a real server exports to a collector on this machine."""

from __future__ import annotations

import gzip
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.support.live_server import WAIT_S, chat
from tests.support.processes import errors, serving, url_of

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "my secret question"


@contextmanager
def collecting() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """An address that takes OTLP over HTTP, and the bodies that have come, by path."""
    bodies: dict[str, list[bytes]] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            bodies.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join(WAIT_S)


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def test_a_collector_is_told_of_every_reply_and_of_nothing_that_was_said(random_model: Path) -> None:
    with collecting() as (collector, bodies):
        options = ("--model", random_model, "--max-batch", "1")
        with serving(*options, OTEL_EXPORTER_OTLP_ENDPOINT=collector) as (process, ready):
            url, asked = url_of(ready), chat(messages=[{"role": "user", "content": SECRET}])
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "mine"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=WAIT_S) as client:
                client.get("/health")
                whole = client.post("/v1/chat/completions", json=asked).json()
                streamed = client.post("/v1/chat/completions", json=asked | {"stream": True})
                assert streamed.text.rstrip().endswith("data: [DONE]")
                client.post("/v1/chat/completions", json={"messages": SECRET})
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0, errors(process)

    sent = [ExportTraceServiceRequest.FromString(body) for body in bodies["/v1/traces"]]
    (resource,) = {str(one.resource): one.resource for each in sent for one in each.resource_spans}.values()
    assert {one.key: plain(one.value) for one in resource.attributes}["service.name"] == "laser"
    spans = [span for each in sent for one in each.resource_spans for scope in one.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["POST /v1/chat/completions"] * 3
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    first, second, refused = ({one.key: plain(one.value) for one in span.attributes} for span in spans)
    for attributes in (first, second):
        assert attributes["http.response.status_code"] == 200
        assert attributes["laser.request_id"] == "mine"
        assert attributes["gen_ai.response.finish_reasons"] in (["stop"], ["length"])
        assert attributes["gen_ai.usage.output_tokens"] > 0
        assert attributes["laser.exit_reason"]
    assert first["gen_ai.response.id"] == whole["id"] != second["gen_ai.response.id"]
    assert first["gen_ai.usage.output_tokens"] == whole["usage"]["completion_tokens"]
    assert first["gen_ai.usage.input_tokens"] == whole["usage"]["prompt_tokens"]
    assert refused["http.response.status_code"] == 400
    assert "gen_ai.response.id" not in refused

    measured = [ExportMetricsServiceRequest.FromString(body) for body in bodies["/v1/metrics"]]
    assert "http.server.request.duration" in str(measured)
    assert not any(SECRET.encode() in body for path in bodies for body in bodies[path])


@contextmanager
def refusing() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def trickling() -> Iterator[str]:
    """An address that answers with a byte now and then, so that no single read takes long."""

    class Trickle(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.5)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Trickle) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(WAIT_S)


@pytest.mark.parametrize("collector", [refusing, silent, trickling])
def test_a_signal_ends_the_server_soon_whatever_the_collector_does(
    random_model: Path, collector: Callable[[], AbstractContextManager[str]]
) -> None:
    with collector() as address:
        options = ("--model", random_model, "--max-batch", "1", "--drain-s", "4")
        with serving(*options, OTEL_EXPORTER_OTLP_ENDPOINT=address) as (process, ready):
            with httpx.Client(base_url=url_of(ready), trust_env=False, timeout=WAIT_S) as client:
                asked = chat(messages=[{"role": "user", "content": SECRET}])
                assert client.post("/v1/chat/completions", json=asked).status_code == 200
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = process.wait(WAIT_S)
            took_s = time.monotonic() - began
            told = errors(process)
    assert status == 0, told
    assert took_s < 4.0 + 5.0, told  # drain, and what a busy machine takes
    assert "Traceback" not in told
    assert "the collector has not taken the last spans and metrics within 4 s: they are lost" in told
