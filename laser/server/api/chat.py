"""Chat completions: the request, and the reply whole or as a stream of chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome
from laser.server.api import dialects
from laser.server.api.answers.said import said_in
from laser.server.api.base import Fields, Switch, encodable
from laser.server.api.errors import shown
from laser.server.api.fields import GenerationFields, Limit, StreamOptions
from laser.server.api.sampling.choices import ChatChoices
from laser.server.api.sampling.log_probs import ChatScores
from laser.server.api.shape import (
    NO_SCORES,
    Chunks,
    FinishWord,
    LaserDetails,
    Scores,
    Surface,
    Usage,
    details,
    finish_word,
    usage,
)
from laser.server.api.tools.reply import CallDelta, CallReply, call_chunk, calls_of
from laser.server.api.tools.request import CallParam, ToolsAsked
from models.chat_model import ChatModel, Prompt
from models.kinds.said import Words

TEXT_PARTS = ("text", "input_text", "output_text")


def text_of(content: object) -> object:
    """Returns a message's content as one text; None stays None. Raises ValueError if a part is not text."""
    if content is None:
        return None
    if isinstance(content, str):
        return encodable(content)
    if not isinstance(content, list):
        raise ValueError(f"is {type(content).__name__}, must be a text or a list of text parts")
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} is of type {shown(kind)}, must be 'text': this model reads text only")
        texts.append(str(encodable(part["text"])))
    return "\n".join(texts)


class TextPart(Fields):
    """A part of a message."""

    place: ClassVar[str] = "messages.content"

    type: Literal["text", "input_text", "output_text"]  # kind of the part: text
    text: str  # the text itself


Content = Annotated[str | None, BeforeValidator(text_of, json_schema_input_type=str | list[TextPart] | None)]
SAYS_SOMETHING: JsonDict = {"properties": {"content": {"not": {"type": "null"}}}, "required": ["content"]}
ASSISTANT: JsonDict = {"properties": {"role": {"const": "assistant"}}}


class Message(Fields):
    """One message of a chat; the chat template says which of an assistant's earlier thoughts the model reads again."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [ASSISTANT, SAYS_SOMETHING]})
    place: ClassVar[str] = "messages"

    role: Literal["system", "developer", "user", "assistant", "tool"]  # who says it; `developer` is read as `system`
    content: Content = Field(default=None, validate_default=True)  # what is said: a text, or a list of text parts
    reasoning_content: Annotated[str, BeforeValidator(encodable)] | None = None  # an assistant's earlier thought
    reasoning: Annotated[str, BeforeValidator(encodable)] | None = None  # the same by its other name
    tool_calls: tuple[CallParam, ...] | None = None  # calls that an assistant's message makes
    tool_call_id: Annotated[str, BeforeValidator(encodable)] | None = None  # of the call whose result a message is

    @field_validator("content")
    @classmethod
    def _there_is_some(cls, content: str | None, info: ValidationInfo) -> str | None:
        if content is None and info.data.get("role") != "assistant":  # an assistant may have called a tool instead
            raise ValueError("is null, must be a text")
        return content

    @field_validator("tool_calls")
    @classmethod
    def _assistants_call(cls, calls: tuple[CallParam, ...] | None, info: ValidationInfo) -> Any:
        role = info.data.get("role")
        if calls and role not in (None, "assistant"):
            raise ValueError(f"has calls, but the message is of role {role!r}, must be 'assistant'")
        return calls

    @property
    def for_template(self) -> dict[str, Any]:
        """The message as chat templates expect it: `developer` becomes `system`, null becomes an empty text."""
        message: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content or "",
        }
        thought = self.reasoning if self.reasoning_content is None else self.reasoning_content
        if self.role == "assistant":
            message |= {} if thought is None else {"reasoning_content": thought}
            message |= {"tool_calls": [call.for_template for call in self.tool_calls]} if self.tool_calls else {}
        elif self.role == "tool" and self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


class ChatRequest(ChatChoices, ToolsAsked, GenerationFields):
    """A chat to answer. Every field but `messages` may be left out or null."""

    endpoint: ClassVar[str] = dialects.CHAT

    # the chat so far, at least one message
    messages: Annotated[tuple[Message, ...], Field(min_length=1, fail_fast=True)]
    stream_options: StreamOptions | None = None  # what a stream carries besides the reply
    max_tokens: Limit = None  # longest reply, thought and answer together, tokens; null: the server's default
    max_completion_tokens: Limit = None  # the same by its newer name, which wins
    continue_final_message: Switch | None = None  # true: the reply goes on with the assistant's last message
    add_generation_prompt: Switch | None = None  # false: the prompt ends without the beginning of a reply

    @field_validator("continue_final_message")
    @classmethod
    def _continues_an_assistant(cls, continued: bool | None, others: ValidationInfo) -> bool | None:
        messages = others.data.get("messages")
        if continued and messages and messages[-1].role != "assistant":
            raise ValueError(f"is true, but the last message is of role {messages[-1].role!r}")
        return continued

    @field_validator("add_generation_prompt")
    @classmethod
    def _begins_no_other_reply(cls, header: bool | None, others: ValidationInfo) -> bool | None:
        if header and others.data.get("continue_final_message"):
            raise ValueError("is true, must not be beside continue_final_message")
        return header

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def limit_name(self) -> str:
        return "max_completion_tokens" if self.max_completion_tokens is not None else "max_tokens"

    @property
    def prompt_name(self) -> str:
        return "messages"

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def said(self) -> Words:
        return said_in((message.role, message.content) for message in self.messages)

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        return chat.begin(
            [message.for_template for message in self.messages],
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
            continued=bool(self.continue_final_message),
            header=self.add_generation_prompt is not False,
            tools=() if (offer := self.offer) is None else offer.tools,
        )


class ReplyMessage(BaseModel):
    """The assistant's message; the thought comes under both names that clients know."""

    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    content: str | None  # the answer; null: there are only calls
    reasoning: str | None  # the thought; null: there was none, or the client hides it
    reasoning_content: str | None  # the thought by its other name
    # calls of the client's tools; left out: there are none
    tool_calls: list[CallReply] | None = Field(default=None, exclude_if=lambda calls: calls is None)


class Choice(BaseModel):
    """A reply."""

    index: int = 0  # place of the choice, from 0
    message: ReplyMessage  # the assistant's message
    finish_reason: FinishWord  # why the reply ended: at its own end, at the token limit, or with tool calls
    logprobs: ChatScores | None = None  # log-probabilities of its tokens; null: not asked for
    laser: LaserDetails | None = None  # how its thought went, where there are several choices; null: see the reply's


class ChatCompletion(BaseModel):
    """A whole reply."""

    id: str  # of the reply
    object: Literal["chat.completion"] = "chat.completion"  # kind of the object
    created: int  # time of the request, s since 1970
    model: str  # name of the served model
    choices: list[Choice]  # the reply, or the replies that `n` asks for
    usage: Usage  # tokens that were sent and decoded
    laser: LaserDetails  # how the thought went, of the first choice


@dataclass(frozen=True, slots=True)
class Completion(Chunks):
    """See `laser.server.api.shape.ReplyShape`. A stream sends role, thought, answer, finish reason, usage, [DONE]."""

    OBJECT = "chat.completion.chunk"
    NOTHING: ClassVar[dict[str, str]] = {}

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> ChatCompletion:
        thought = reasoning if self.identity.show_reasoning and outcome.thought.exit_reason is not None else None
        message = ReplyMessage(
            content=content or None if outcome.calls else content,
            reasoning=thought,
            reasoning_content=thought,
            tool_calls=calls_of(outcome),
        )
        return ChatCompletion(
            id=self.identity.id,
            created=self.identity.created,
            model=self.identity.model,
            choices=[Choice(message=message, finish_reason=finish_word(outcome), logprobs=self._scored(scores))],
            usage=usage(outcome),
            laser=details(self.identity, outcome),
        )

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, delta: Delta) -> bytes:
        if delta.channel is Channel.REASONING and not self.identity.show_reasoning:
            return b""
        text = delta.text
        said = {"content": text} if delta.channel is Channel.CONTENT else {"reasoning": text, "reasoning_content": text}
        return self._chunk(said, scores={delta.channel: delta.scores})

    def called(self, call: CallDelta) -> bytes:
        return self._chunk({"tool_calls": [call_chunk(call)]})

    def _scored(self, scores: Scores) -> ChatScores | None:
        scoring, thought = self.identity.scoring, scores.get(Channel.REASONING)
        if scoring is None:
            return None
        return ChatScores(
            content=None if (said := scores.get(Channel.CONTENT)) is None else scoring.tokens(said),
            reasoning=scoring.tokens(thought) if thought and self.identity.show_reasoning else None,
        )

    def _choice(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"delta": said}


CHAT = Surface(
    path="/v1/chat/completions",
    name="chat_completions",
    description="Answer a chat, whole or as a stream of server-sent events.",
    request=ChatRequest,
    reply=ChatCompletion,
    shape=Completion,
    prefix="chatcmpl-",
)
