"""The HTTP API: the surfaces and reports over one service, behind a gate.

Every reply runs in a race with the client's disconnect: a client that goes away, even before the first token, frees
its request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from laser.server.api import surfaces
from laser.server.api.errors import ApiError, HttpError, ServerFailure, clipped, validation_error
from laser.server.api.fields import GenerationFields, read_slo
from laser.server.api.headers import ResponseHeader
from laser.server.api.openapi import describe, failures, streamed
from laser.server.api.reports import (
    Controlled,
    ControlRequest,
    DetokenizeRequest,
    Health,
    ModelCard,
    ModelList,
    QueueReport,
    Ready,
    Text,
    TokenizeRequest,
    Tokens,
    Version,
)
from laser.server.api.shape import Surface
from laser.server.catalogue.routes import catalogue
from laser.server.connection import REFUSED
from laser.server.controller_report import ControllerReport
from laser.server.dashboard.routes import dashboard
from laser.server.delivery import GONE, EventStream, unless_gone, whole
from laser.server.entrance import LOCAL, Entrance, KnownPages, host_name, refusals
from laser.server.gate import Gate, GateSettings
from laser.server.intake.route import BodyRoute
from laser.server.keys import KeyRing
from laser.server.service import Service
from laser.server.telemetry.ignored import IgnoredFields

PROBED = frozenset({"/health", "/ready", "/metrics"})  # polled every few seconds
# Spans and metrics of requests, if OTEL_EXPORTER_OTLP_ENDPOINT names a collector; the entrance adds replies' outcomes.
TELEMETRY = TelemetryConfig(auto_configure=True, operation_spans=False, exclude=lambda scope: scope["path"] in PROBED)


def create_app(service: Service, *, ping_s: float = 15.0, stopped: Callable[[], None] = lambda: None) -> FastAPI:
    """Returns the ASGI application, which starts and stops the service. `ping_s`: the longest silence of a stream, s.

    `stopped` is called once the service has stopped; exporters of telemetry may wait for their collector behind it.
    Raises ConfigError if the keys cannot be read.
    """

    config = service.config
    keys = KeyRing(config.keys, time.monotonic)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        service.start()
        watching = asyncio.create_task(keys.watch())
        yield {REFUSED: refusals(service.metrics.answered)}
        watching.cancel()
        await service.stop()
        stopped()

    app = FastAPI(
        title="LASER", version=service.version.version, lifespan=lifespan, docs_url=None, redoc_url=None,
        responses=failures(), telemetry=TELEMETRY,
    )  # fmt: skip
    app.state.reader = service.reader
    app.router.route_class = BodyRoute
    settings = GateSettings(max_body=config.max_body, body_s=config.idle_s, log_bodies=config.log_bodies)
    app.add_middleware(Gate, keys=keys, settings=settings)  # the last added is outermost
    if config.allow_origin:
        app.add_middleware(KnownPages, origins=config.allow_origin)
    names = frozenset(map(host_name, (*LOCAL, config.host, *config.allow_host)))
    open_to_all = config.keys is not None or config.public
    app.add_middleware(Entrance, hosts=None if open_to_all else names, answered=service.metrics.answered)
    describe(app, service.vocabulary)
    _add_error_handlers(app)
    ignored = IgnoredFields()
    for surface in surfaces.SURFACES:
        _add_surface(app, service, surface, ping_s, ignored)
    _add_tools(app, service, ignored)
    _add_reports(app, service)
    app.include_router(catalogue(service, ignored))
    app.include_router(dashboard(service.monitor))
    return app


def _add_surface(app: FastAPI, service: Service, surface: Surface, ping_s: float, ignored: IgnoredFields) -> None:
    async def reply(asked: GenerationFields, request: Request) -> Response:
        state = request.state
        if surface.nothing is not None and asked.asks_for_nothing:
            told = surface.nothing(service.introduced(asked)).model_dump_json(exclude_none=True)
            kind = surface.framing.media_type if asked.streamed else "application/json"
            return Response(f"{told}\n", media_type=kind, headers=ignored.headers(asked.unread))
        slo = read_slo(request.headers)
        submission = await unless_gone(
            request.receive,
            service.submit(
                asked, surface.shape, prefix=surface.prefix, caller=state.caller, slo=slo, log=state.log,
                size=state.size,
            ),
        )  # fmt: skip
        state.release()
        if submission is None:
            return Response(status_code=GONE)
        headers = ignored.headers(asked.unread)
        if asked.streamed:
            return EventStream(submission, ping_s, headers, surface.framing)
        made = await whole(submission, request.receive)
        if made is None:
            return Response(status_code=GONE)
        return Response(made.model_dump_json(), media_type="application/json", headers=headers)

    reply.__annotations__["asked"] = surface.request  # where FastAPI reads what the body is
    app.add_api_route(
        surface.path, reply, methods=["POST"], name=surface.name, description=surface.description,
        response_model=surface.reply, responses=failures(surface.error_model) | streamed(surface.framing.media_type),
    )  # fmt: skip


def _add_tools(app: FastAPI, service: Service, ignored: IgnoredFields) -> None:
    @app.post("/v1/chat/completions/control", response_model=Controlled)
    async def control(asked: ControlRequest, request: Request) -> Response:
        """End the thought of a running reply; its answer follows."""
        made = await service.control(asked, request.state.caller)
        return JSONResponse(made.model_dump(), headers=ignored.headers(asked.unread))

    @app.post("/tokenize", response_model=Tokens)
    async def tokenize(asked: TokenizeRequest, request: Request) -> Response:
        """The tokens of a text or of a chat."""
        work = service.tokenize(asked, request.state.caller, request.state.size)
        return await _report(work, request, ignored.headers(asked.unread))

    @app.post("/detokenize", response_model=Text)
    async def detokenize(asked: DetokenizeRequest, request: Request) -> Response:
        """The text of tokens."""
        work = service.detokenize(asked, request.state.caller, request.state.size)
        return await _report(work, request, ignored.headers(asked.unread))


async def _report(work: Coroutine[Any, Any, str], request: Request, headers: dict[str, str]) -> Response:
    """Sends the JSON that `work` makes, unless the client has gone."""
    made = await unless_gone(request.receive, work)
    if made is None:
        return Response(status_code=GONE)
    return Response(made, media_type="application/json", headers=headers)


def _add_reports(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server can answer."""
        state = service.health
        return JSONResponse(state.model_dump(), status_code=503 if state.status == "failed" else 200)

    @app.get("/ready", response_model=Ready, responses={503: {"model": Ready}})
    async def ready() -> Response:
        """Whether the server takes requests."""
        state = service.ready
        return JSONResponse(state.model_dump(), status_code=200 if state.status == "ready" else 503)

    @app.get("/version")
    async def version() -> Version:
        """Which LASER this is."""
        return service.version

    @app.get("/v1/models")
    async def models() -> ModelList:
        """The served models."""
        return ModelList(data=[service.model_card], first_id=service.model_id, last_id=service.model_id)

    @app.get("/v1/models/{model:path}")
    async def model(model: Annotated[str, Path(description="Name of the model.")]) -> ModelCard:
        """One served model."""
        service.check_name(model)
        return service.model_card

    @app.get("/laser/controller")
    async def controller() -> ControllerReport:
        """What the policy makes of the load: estimates, limits, prices, and what stands in for what."""
        await service.refresh()
        return service.controller

    @app.get("/laser/queue")
    async def queue() -> QueueReport:
        """Who waits, and for how long."""
        return service.queue

    if service.config.metrics:

        @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
        async def metrics() -> Response:
            """What Prometheus reads."""
            await service.refresh()
            return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})


def _add_error_handlers(app: FastAPI) -> None:
    def answer(request: Request, error: ApiError, headers: dict[str, str]) -> Response:
        body = surfaces.error_body(request.url.path, error)
        return JSONResponse(body, status_code=error.status, headers=headers)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return answer(request, error, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problem = validation_error(error.errors(), content_type=request.headers.get("content-type", ""))
        return answer(request, problem, problem.headers)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        path, method, headers = request.url.path, request.method, error.headers or {}
        message = {
            404: f"there is no {clipped(path)} here; see /openapi.json for what there is",
            405: f"{clipped(path)} does not take {method}, only {headers.get('Allow', 'other methods')}",
        }.get(error.status_code, str(error.detail))
        problem = HttpError(message, status=error.status_code, headers=headers)
        return answer(request, problem, problem.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        failure = ServerFailure(f"the server failed: {type(error).__name__}")
        return answer(
            request, failure, {ResponseHeader.REQUEST_ID: request.state.log.request_id}
        )  # it bypasses the entrance
