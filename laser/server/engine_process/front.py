"""What answers while the model loads: /health, /ready and /version. All else waits for the application behind it."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser.server.api.errors import ServerFailure, Unavailable
from laser.server.api.reports import Health, Ready, Version
from laser.server.api.surfaces import error_body
from laser.server.engine_process.messages import Loading
from laser.version import VERSION


class FrontDoor:
    """An ASGI application that becomes another one, once `open` is called with that."""

    def __init__(self, model: str) -> None:
        """`model`: its name."""
        self.loading = Loading(stage="libraries")  # how far the start is
        self._model = model
        self._app: ASGIApp | None = None  # None: the model is being loaded
        self._ready = asyncio.Event()  # there is an application, or there will be none
        self._state: dict[str, object] = {}  # of all requests: the application puts into it what it likes
        self._lifespan: _Lifespan | None = None

    async def open(self, app: ASGIApp) -> None:
        """Starts the application, which gets all requests from now on. Raises what its start raises."""
        lifespan = _Lifespan(app, self._state)
        await lifespan.start()
        self._app, self._lifespan = app, lifespan
        self._ready.set()

    def give_up(self) -> None:
        """Has requests that wait for an application refused, if there is none yet: there will be none."""
        self._ready.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._state = scope["state"]
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if self._app is None:
            answer = self._answer(scope["path"])
            if answer is not None:
                await answer(scope, receive, send)
                return
            await self._ready.wait()
            if self._app is None:
                error = Unavailable("the server has ended before its model was loaded")
                await JSONResponse(error_body(scope["path"], error), status_code=error.status)(scope, receive, send)
                return
            scope["state"].update(self._state)
        await self._app(scope, receive, send)

    def _answer(self, path: str) -> JSONResponse | None:
        """Returns the answer that needs no model; None: the request waits."""
        found: BaseModel
        match path:
            case "/health":
                stage = self.loading
                found = Health(status="starting", model=self._model, loading=stage.stage, loaded=stage.share)
                return JSONResponse(found.model_dump())
            case "/ready":
                found = Ready(status="starting")
                return JSONResponse(found.model_dump(), status_code=503)
            case "/version":
                found = Version(version=VERSION)
                return JSONResponse(found.model_dump())
            case _:
                return None

    async def _close(self) -> None:
        self.give_up()
        if self._lifespan is not None:
            await self._lifespan.end()


class _Lifespan:
    """The start and the end of an application, as ASGI has them."""

    def __init__(self, app: ASGIApp, state: dict[str, object]) -> None:
        self._app = app
        self._state = state
        self._said: asyncio.Queue[Message] = asyncio.Queue()  # to the application
        self._heard: asyncio.Queue[Message] = asyncio.Queue()  # of the application
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        self._task = asyncio.create_task(self._run(scope))
        await self._ask("startup")

    async def end(self) -> None:
        await self._ask("shutdown")
        assert self._task is not None
        await self._task

    async def _run(self, scope: Scope) -> None:
        await self._app(scope, self._said.get, self._heard.put)

    async def _ask(self, what: str) -> None:
        """Raises ServerFailure, or what the application raises, unless it does what is asked."""
        assert self._task is not None
        self._said.put_nowait({"type": f"lifespan.{what}"})
        hearing = asyncio.ensure_future(self._heard.get())
        await asyncio.wait({hearing, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            hearing.cancel()
            await self._task
        elif hearing.result()["type"] != f"lifespan.{what}.complete":
            raise ServerFailure(f"the application's {what} has failed: {hearing.result().get('message', '')}")
