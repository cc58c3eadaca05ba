"""/api/chat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from laser.server.api.answers.said import said_in
from laser.server.api.chat import Message
from laser.server.api.ollama.errors import OllamaError, ollama_body
from laser.server.api.ollama.fields import OllamaFields
from laser.server.api.ollama.reply import OllamaLines, OllamaReply
from laser.server.api.shape import LINES, Surface, written
from laser.server.api.tools.request import CallParam, Text, ToolsAsked
from models.chat_model import ChatModel, Prompt
from models.kinds.said import Words
from models.tools.offer import ToolCall, as_object


class OllamaCallParam(CallParam):
    """A call that an assistant's earlier message made."""

    id: Text = ""  # of the call; empty: results follow their calls


class OllamaMessage(Message):
    """One message of a chat; the chat template says which of an assistant's earlier thoughts the model reads again."""

    role: Literal["system", "user", "assistant", "tool"]  # who says it
    thinking: Text | None = None  # an assistant's earlier thought
    tool_calls: tuple[OllamaCallParam, ...] | None = None  # calls that an assistant's message makes
    tool_name: Text | None = None  # of the tool whose result a message is

    @property
    def for_template(self) -> dict[str, Any]:
        message = super().for_template
        if self.thinking is None or self.role != "assistant":
            return message
        return {"reasoning_content": self.thinking, **message}


def with_ids(messages: Iterable[OllamaMessage]) -> Iterator[dict[str, Any]]:
    """Yields messages as chat templates expect them: calls have ids, and each result that of the call it follows.

    A result without an id belongs to the first call without one, of its tool if it names the tool.
    """
    waiting: list[tuple[str, str]] = []  # ids and tools of calls
    number = 0
    for message in messages:
        made = message.for_template
        for call in made.get("tool_calls", ()):
            call["id"] = call["id"] or f"call_{number}"
            waiting.append((call["id"], call["function"]["name"]))
            number += 1
        if message.role == "tool" and "tool_call_id" not in made:
            named = [name for _, name in waiting] if message.tool_name is None else [message.tool_name]
            found = next((call for call in waiting if call[1] in named), None)
            if found is not None:
                waiting.remove(found)
                made["tool_call_id"] = found[0]
        yield made


class OllamaChatRequest(ToolsAsked, OllamaFields):
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
            list(with_ids(self.messages)),
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
            tools=() if (offer := self.offer) is None else offer.tools,
        )

    @property
    def said(self) -> Words:
        return said_in((message.role, message.content) for message in self.messages)


class OllamaFunctionReply(BaseModel):
    """What the model calls."""

    name: str  # of the tool
    arguments: dict[str, Any]  # its arguments; those that are no object stand in it as `invalid`, a text


class OllamaCallReply(BaseModel):
    """A call of a tool."""

    id: str  # of the call
    function: OllamaFunctionReply  # what is called


class OllamaReplyMessage(BaseModel):
    """The assistant's message, or a piece of it."""

    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    content: str  # the answer
    thinking: str | None = None  # the thought; null: there is none, or the client hides it
    tool_calls: list[OllamaCallReply] | None = None  # calls of the client's tools; null: there are none


class OllamaChatReply(OllamaReply):
    """A reply, or a line of one."""

    message: OllamaReplyMessage  # the assistant's message, or a piece of it


class OllamaChatLines(OllamaLines):
    """The lines of a chat's reply."""

    def _reply(self, thought: str | None, content: str, calls: Sequence[ToolCall] = (), **more: Any) -> OllamaChatReply:
        called = [
            OllamaCallReply(
                id=call.id, function=OllamaFunctionReply(name=call.name, arguments=as_object(call.arguments))
            )
            for call in calls
        ]
        message = OllamaReplyMessage(content=content, thinking=thought, tool_calls=called or None)
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
