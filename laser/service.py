"""The application's core: chat requests become reasoning requests, and run on the engine's thread."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable

from controller.request import ReasoningRequest
from engine.base import CapacityError, EngineError, Sampling
from laser.completion import Completion
from laser.controller_schema import ControllerReport, report
from laser.deployment import Deployment
from laser.engine_thread import EngineFailure, EngineThread, Ticket
from laser.errors import BadRequest, ContextTooLong, Unavailable, UnknownModel
from laser.schemas import ChatRequest, Health, ModelCard
from models.tokenizer import TokenizerError

SEEDS = 2**63


class Service:
    """Serves one deployed model. Its methods are for the event loop, which they never block."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        rng: random.Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._deployment = deployment
        self._thread = EngineThread(deployment.loop)
        self._room = deployment.loop.room
        self._rng = rng or random.Random()
        self._now = now
        self._started = int(now())

    @property
    def model_id(self) -> str:
        """The served model's name."""
        return self._deployment.model_id

    @property
    def model_card(self) -> ModelCard:
        """The served model, for clients."""
        return ModelCard(id=self.model_id, created=self._started, max_model_len=self._room)

    @property
    def health(self) -> Health:
        """Whether the engine's thread runs."""
        return Health(status="ok" if self._thread.alive else "failed", model=self.model_id)

    @property
    def controller(self) -> ControllerReport:
        """What the policy makes of the load."""
        return report(self._deployment.chosen)

    def start(self) -> None:
        """Start the engine's thread for the running event loop."""
        self._thread.start()

    async def stop(self) -> None:
        """End the engine's thread; requests still in the engine fail."""
        await self._thread.stop()
        await asyncio.to_thread(self._deployment.chosen.close)

    async def submit(self, chat: ChatRequest) -> tuple[Completion, Ticket]:
        """Queue a chat. Raises ApiError where it cannot be served."""
        if chat.model is not None and chat.model != self.model_id:
            raise UnknownModel(chat.model, [self.model_id])
        seed = chat.seed if chat.seed is not None else self._rng.getrandbits(63)
        request = await asyncio.to_thread(self._reasoning_request, chat, seed % SEEDS)
        try:
            ticket = await self._thread.submit(request)
        except CapacityError as error:
            raise ContextTooLong(str(error), param=chat.limit_name) from error
        except EngineError as error:
            raise BadRequest(str(error)) from error
        except EngineFailure as error:
            raise Unavailable(str(error)) from error
        completion = Completion(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(self._now()),
            model=self.model_id,
            difficulty=request.difficulty,
            show_reasoning=chat.include_reasoning is not False,
            show_usage=chat.wants_usage,
        )
        return completion, ticket

    def _reasoning_request(self, chat: ChatRequest, seed: int) -> ReasoningRequest:
        prompt = self._prompt(chat)
        return ReasoningRequest(
            prompt=prompt,
            max_tokens=self._max_tokens(chat, len(prompt)),
            thinking=chat.thinking,
            sampling=self._sampling(chat, seed),
            stop=chat.stop,
            budget=chat.budget,
            difficulty=chat.difficulty or self._deployment.chosen.classify(prompt),
            priority=self._deployment.chosen.priority(prompt),
        )

    def _prompt(self, chat: ChatRequest) -> tuple[int, ...]:
        messages = [_template_message(role=message.role, content=message.content) for message in chat.messages]
        try:
            return self._deployment.chat.prompt(messages, thinking=chat.thinking)
        except TokenizerError as error:
            raise BadRequest(str(error), param="messages") from error

    def _max_tokens(self, chat: ChatRequest, prompt: int) -> int:
        room = self._room - prompt
        if room < 1:
            raise ContextTooLong(f"the prompt has {prompt} tokens, must be at most {self._room - 1}", param="messages")
        if chat.limit is None:
            return min(self._deployment.default_max_tokens, room)
        if chat.limit > room:
            raise ContextTooLong(
                f"{chat.limit_name} is {chat.limit}, must be at most {room}: the prompt has {prompt} of the "
                f"{self._room} tokens that prompt and reply may have together",
                param=chat.limit_name,
            )
        return chat.limit

    def _sampling(self, chat: ChatRequest, seed: int) -> Sampling:
        own = self._deployment.chat.defaults
        return Sampling(
            temperature=own.temperature if chat.temperature is None else chat.temperature,
            top_p=own.top_p if chat.top_p is None else chat.top_p,
            top_k=own.top_k if chat.top_k is None else max(0, chat.top_k),
            seed=seed,
        )


def _template_message(*, role: str, content: str | None) -> dict[str, str]:
    return {"role": "system" if role == "developer" else role, "content": content or ""}
