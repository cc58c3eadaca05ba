"""A model in a process of its own, for the service: what this side reads of its directory, and its engine."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from controller.serving.request import Outcome
from laser.server.config import ServeConfig
from laser.server.engine_process.child import Child
from laser.server.engine_process.link import EngineProcess
from laser.server.engine_process.messages import Deployed, Loading
from laser.server.engine_process.served import ServedModel, read_chat
from laser.server.service import Service
from models.chat_model import ChatModel

SWITCH_S = 0.0005  # for which a thread that renders or encodes a prompt may hold up the event loop; Python's own: 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model that is loaded in a process of its own."""

    served: ServedModel
    engine: EngineProcess

    @classmethod
    async def opened(cls, config: ServeConfig, engine: EngineProcess) -> RemoteModel:
        """Waits until both sides have read the model. Raises EngineStartError, else what this side's reading raises."""
        reading = _on_a_thread(lambda: read_chat(config))
        deployed = await engine.opened()  # first: it tells of the same faults, and of more
        model = cls.of(config, await reading, deployed, engine)
        model.served.grammars.warm_up()
        return model

    @classmethod
    def of(cls, config: ServeConfig, chat: ChatModel, deployed: Deployed, engine: EngineProcess) -> RemoteModel:
        """Returns what a process has loaded, for this side's own reading of the model's directory."""
        chat = replace(chat, rows=deployed.vocabulary)
        served = ServedModel(
            model_id=deployed.model_id,
            config=config,
            chat=chat,
            grammars=chat.grammars(),
            room=deployed.room,
            engine=deployed.engine,
            knows=deployed.knows,
            difficulty=deployed.difficulty,
            tells_length=deployed.tells_length,
            certified=deployed.certified,
            switch=deployed.switch,
        )
        return cls(served=served, engine=engine)

    def connect(self, left: Callable[[Outcome], None]) -> EngineProcess:
        """Returns the engine, whose process runs already; `left` as in EngineClient."""
        self.engine.listen(left)
        return self.engine


async def open_service(config: ServeConfig, child: Child, told: Callable[[Loading], None]) -> Service:
    """Returns the service of an engine that `child` loads; `told` gets each stage of that. Raises EngineStartError.

    From then on this process's threads take turns more often: the event loop has none of the engine's work beside it.
    """
    sys.setswitchinterval(SWITCH_S)
    return Service(await RemoteModel.opened(config, EngineProcess(config, child, told=told)))


def _on_a_thread(work: Callable[[], ChatModel]) -> asyncio.Future[ChatModel]:
    """Returns what will be the result of `work`, on a thread that never keeps the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ChatModel] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop has closed
            loop.call_soon_threadsafe(lambda: None if done.done() else settle())

    def run() -> None:
        try:
            made = work()
        except Exception as error:
            fault = error
            tell(lambda: done.set_exception(fault))
        else:
            tell(lambda: done.set_result(made))

    done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else may be there to see it
    threading.Thread(target=run, name="model's texts", daemon=True).start()
    return done
