"""/api/chat."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from laser.server.api.base import encodable
from laser.server.api.chat import Message
from laser.server.api.ollama.errors import OllamaError, ollama_body
from laser.server.api.ollama.fields import OllamaFields
from laser.server.api.ollama.reply import OllamaLines, OllamaReply
from laser.server.api.shape import LINES, Surface, written
from models.chat_model import ChatModel, Prompt


class OllamaMessage(Message):
    """One message of a chat; the chat template says which of an assistant's earlier thoughts the model reads again."""

    role: Literal["system", "user", "assistant", "tool"]  # who says it
    thinking: Annotated[str, BeforeValidator(encodable)] | None = None  # an assistant's earlier thought

    @property
    def for_template(self) -> dict[str, str]:
        message = super().for_template
        if self.thinking is None or self.role != "assistant":
            return message
        return {"reasoning_content": self.thinking, **message}


class OllamaChatRequest(OllamaFields):
    """A chat to answer. Every field may be left out; without messages there is nothing to answer."""

    messages: Annotated[tuple[OllamaMessage, ...], Field(fail_fast=True)] = ()  # the chat so far

    @property
    def prompt_name(self) -> str:
        return "messages"

    @property
    def asks_for_nothing(self) -> bool:
        return not self.messages

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        return chat.begin(
            [message.for_template for message in self.messages],
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
        )


class OllamaReplyMessage(BaseModel):
    """The assistant's message, or a piece of it."""

    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    content: str  # the answer
    thinking: str | None = None  # the thought; null: there is none, or the client hides it


class OllamaChatReply(OllamaReply):
    """A reply, or a line of one."""

    message: OllamaReplyMessage  # the assistant's message, or a piece of it


class OllamaChatLines(OllamaLines):
    """The lines of a chat's reply."""

    def _reply(self, thought: str | None, content: str, **more: Any) -> OllamaChatReply:
        message = OllamaReplyMessage(content=content, thinking=thought)
        return OllamaChatReply(
            model=self.identity.model, created_at=written(self.identity.created), message=message, **more
        )


OLLAMA_CHAT = Surface(
    path="/api/chat",
    name="ollama_chat",
    description="Answer a chat in Ollama's format, as a stream of lines of JSON or whole.",
    request=OllamaChatRequest,
    reply=OllamaChatReply,
    shape=OllamaChatLines,
    prefix="ollama-chat-",
    framing=LINES,
    nothing=lambda identity: OllamaChatLines(identity).nothing(),
    error_body=ollama_body,
    error_model=OllamaError,
)
