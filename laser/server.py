"""The HTTP API: OpenAI's chat completions over one service.

A client that goes away, even before the first token, frees its request: every reply is raced against the disconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from controller.reply import Channel, Delta
from controller.request import Checkpoint, Outcome
from laser.completion import DONE, PING, Completion, event
from laser.controller_schema import ControllerReport
from laser.dashboard.routes import dashboard
from laser.engine_thread import EngineFailure, Item, Ticket
from laser.errors import ApiError, ServerFailure, UnknownModel, error_body, validation_error
from laser.schemas import ChatCompletion, ChatRequest, ModelList
from laser.service import Service

T = TypeVar("T")


def create_app(service: Service, *, ping_s: float = 15.0) -> FastAPI:
    """The ASGI application; it starts and stops the service. `ping_s`: the longest silence of a stream."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(title="LASER", lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_error_handlers(app)
    app.include_router(dashboard(service.monitor))

    @app.get("/health")
    async def health() -> Response:
        """Whether the server can answer."""
        state = service.health
        return JSONResponse(state.model_dump(), status_code=200 if state.status == "ok" else 503)

    @app.get("/laser/controller")
    async def controller() -> ControllerReport:
        """What the policy makes of the load: estimates, limits, prices, and what stands in for what."""
        return service.controller

    @app.get("/v1/models")
    async def models() -> ModelList:
        """The served models."""
        return ModelList(data=[service.model_card])

    @app.get("/v1/models/{model:path}")
    async def model(model: str) -> Response:
        """One served model."""
        if model != service.model_id:
            raise UnknownModel(model, [service.model_id])
        return JSONResponse(service.model_card.model_dump())

    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(chat: ChatRequest, request: Request) -> Response:
        """Answer a chat, whole or as a stream of server-sent events."""
        completion, ticket = await service.submit(chat)
        if chat.stream:
            return EventStream(_events(completion, ticket, ping_s), ticket)
        reply = await unless_gone(request.receive, _whole(completion, ticket))
        if reply is None:
            return Response(status_code=499)  # nobody reads it
        return Response(reply.model_dump_json(), media_type="application/json")

    return app


async def _whole(completion: Completion, ticket: Ticket) -> ChatCompletion:
    text = {Channel.REASONING: "", Channel.CONTENT: ""}
    try:
        while True:
            for item in await ticket.take():
                if isinstance(item, Outcome):
                    return completion.whole(text[Channel.REASONING], text[Channel.CONTENT], item)
                if isinstance(item, Delta):
                    text[item.channel] += item.text
    except EngineFailure as error:
        raise ServerFailure(str(error)) from error
    finally:
        ticket.cancel()


async def _events(completion: Completion, ticket: Ticket, ping_s: float) -> AsyncGenerator[bytes, None]:
    """The stream's bytes; what has piled up since the last write goes out at once."""
    yield completion.opening()
    try:
        while True:
            try:
                async with asyncio.timeout(ping_s):
                    items = await ticket.take()
            except TimeoutError:
                yield PING
                continue
            data = b"".join(_piece(completion, item) for item in items)
            if isinstance(items[-1], Outcome):
                yield data + completion.closing(items[-1]) + DONE
                return
            if data:
                yield data
    except EngineFailure as error:
        yield event(ServerFailure(str(error)).body()) + DONE
    except ServerFailure as error:
        yield event(error.body()) + DONE


def _piece(completion: Completion, item: Item) -> bytes:
    match item:
        case Delta():
            return completion.piece(item)
        case Checkpoint():
            return completion.probed(item)
        case Outcome():
            return b""  # comes last, as the stream's closing


class EventStream(Response):
    """A stream of server-sent events that ends, and frees its request, when the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], ticket: Ticket) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send(send))
        finally:
            self._ticket.cancel()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns, or None once the client has gone; the work is then cancelled."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the rest of a request's body


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), status_code=error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        problem = validation_error(error.errors(), content_type=kind)
        return JSONResponse(problem.body(), status_code=problem.status)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        path, method = request.url.path, request.method
        message = {
            404: f"there is no {path} here; see /openapi.json for what there is",
            405: f"{path} does not take {method}, only {(error.headers or {}).get('Allow', 'other methods')}",
        }.get(error.status_code, str(error.detail))
        kind = "invalid_request_error" if error.status_code < 500 else "server_error"
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        body = error_body(message, type=kind, code=code)
        return JSONResponse(body, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, error: Exception) -> Response:
        failure = ServerFailure(f"the server failed: {type(error).__name__}")
        return JSONResponse(failure.body(), status_code=failure.status)
