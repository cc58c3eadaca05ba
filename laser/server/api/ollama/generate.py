"""/api/generate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from laser.server.api.base import Switch, encodable
from laser.server.api.ollama.errors import OllamaError, ollama_body
from laser.server.api.ollama.fields import OllamaFields
from laser.server.api.ollama.reply import OllamaLines, OllamaReply
from laser.server.api.shape import LINES, Surface, written
from models.chat_model import ChatModel, Prompt
from models.kinds.said import Words
from models.tools.offer import ToolCall

Given = Annotated[str, BeforeValidator(encodable)]


class OllamaGenerateRequest(OllamaFields):
    """A prompt to answer. Every field may be left out; without a prompt there is nothing to answer."""

    prompt: Given | None = None  # what the user says; with `raw` a text that the reply continues
    system: Given | None = None  # what the model is told before the prompt
    raw: Switch | None = None  # true: the prompt is continued as it is, without a chat template

    @property
    def prompt_name(self) -> str:
        return "prompt"

    @property
    def asks_for_nothing(self) -> bool:
        return not self.prompt

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        prompt, wanted = self.prompt or "", self.thought_wanted(chat)
        if self.raw:
            return chat.raw(prompt)
        told = [{"role": "system", "content": self.system}] if self.system else []
        return chat.begin(
            [*told, {"role": "user", "content": prompt}],
            thinking=wanted,
            options=self.template_variables,
            effort=self.effort_word,
        )

    @property
    def said(self) -> Words | None:
        return None if self.raw else Words(asked=self.prompt or "", system=self.system or "")


class OllamaGenerateReply(OllamaReply):
    """A reply, or a line of one."""

    response: str  # the answer, or a piece of it
    thinking: str | None = None  # the thought, or a piece of it; null: there is none, or the client hides it


class OllamaGenerateLines(OllamaLines):
    """The lines of a prompt's reply."""

    def _reply(
        self, thought: str | None, content: str, calls: Sequence[ToolCall] = (), **more: Any
    ) -> OllamaGenerateReply:
        return OllamaGenerateReply(
            model=self.identity.model,
            created_at=written(self.identity.created),
            response=content,
            thinking=thought,
            **more,
        )


OLLAMA_GENERATE = Surface(
    path="/api/generate",
    name="ollama_generate",
    description="Answer a prompt in Ollama's format, as a stream of lines of JSON or whole.",
    request=OllamaGenerateRequest,
    reply=OllamaGenerateReply,
    shape=OllamaGenerateLines,
    prefix="ollama-generate-",
    framing=LINES,
    nothing=lambda identity: OllamaGenerateLines(identity).nothing(),
    error_body=ollama_body,
    error_model=OllamaError,
)
