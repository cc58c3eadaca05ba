"""The routes of other servers' clients that reply to nothing: what is told of models, and how long a prompt is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from laser.server.api.anthropic.errors import MessagesError
from laser.server.api.anthropic.request import CountTokensRequest, TokenCount
from laser.server.api.ollama.errors import OllamaError
from laser.server.api.ollama.reports import OllamaRunning, OllamaShown, OllamaShowRequest, OllamaTags, OllamaVersion
from laser.server.api.openapi import failures
from laser.server.catalogue.ollama import OllamaCatalogue
from laser.server.delivery import GONE, unless_gone
from laser.server.intake.route import BodyRoute
from laser.server.service import Service
from laser.server.telemetry.ignored import IgnoredFields
from laser.version import VERSION


def catalogue(service: Service, ignored: IgnoredFields) -> APIRouter:
    """Returns the routes."""
    router, told = APIRouter(route_class=BodyRoute), OllamaCatalogue(service.served)

    @router.post("/v1/messages/count_tokens", response_model=TokenCount, responses=failures(MessagesError))
    async def count_tokens(asked: CountTokensRequest, request: Request) -> Response:
        """The length of a conversation in tokens, as Anthropic's clients ask for it."""
        state = request.state
        made = await unless_gone(request.receive, service.count_tokens(asked, state.caller, state.size))
        if made is None:
            return Response(status_code=GONE)
        return JSONResponse(made.model_dump(), headers=ignored.headers(asked.unread))

    @router.get("/api/version", responses=failures(OllamaError))
    async def version() -> OllamaVersion:
        """Which of Ollama's APIs this is."""
        return OllamaVersion(laser_version=VERSION)

    @router.get("/api/tags", responses=failures(OllamaError))
    async def tags() -> OllamaTags:
        """The served models, as Ollama's clients list them."""
        return await run_in_threadpool(told.tags)

    @router.get("/api/ps", responses=failures(OllamaError))
    async def running() -> OllamaRunning:
        """The loaded models, as Ollama's clients list them."""
        return await run_in_threadpool(told.running)

    @router.post("/api/show", response_model=OllamaShown, responses=failures(OllamaError))
    async def show(asked: OllamaShowRequest, request: Request) -> Response:
        """What is known of the served model, as Ollama's clients ask for it."""
        name = asked.model or asked.name
        if name is not None:
            service.check_name(name)
        shown = await run_in_threadpool(told.shown)
        return JSONResponse(shown.model_dump(), headers=ignored.headers(asked.unread))

    return router
