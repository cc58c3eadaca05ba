"""What Anthropic's clients ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from laser.server.api.answers.said import said_in
from laser.server.api.anthropic.blocks import MessagesTurn, Part, System, conversation
from laser.server.api.anthropic.table import HERE, MESSAGES_PLACES
from laser.server.api.anthropic.tools import MessagesTools
from laser.server.api.base import RequestBody
from laser.server.api.dialects import Indifferent, Treatment
from laser.server.api.fields import GenerationFields, Limit, StopTexts, Tier
from laser.server.api.reasoning import ReasoningPolicy, ThinkingOptions
from laser.server.api.structured.fields import JsonSchema, format_grammar
from models.chat_model import ChatModel, Prompt
from models.grammar.grammar import Grammar
from models.kinds.said import Words

OutputEffort = Literal["low", "medium", "high", "xhigh", "max"]
Turns = Annotated[tuple[MessagesTurn, ...], Field(min_length=1, fail_fast=True)]


def _tier(given: object) -> object:
    """Returns OpenAI's word for Anthropic's `standard_only`."""
    return "default" if given == "standard_only" else given


class MessagesThinking(ThinkingOptions):
    """Whether to think, how long, and whether the thought is shown."""

    display: Literal["summarized", "omitted"] | None = None  # `omitted`: the response leaves the thought out

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        return MESSAGES_PLACES[cls.place]


class OutputFormat(Part):
    """What the answer is held to."""

    place: ClassVar[str] = "output_config.format"

    type: Literal["json_schema"]  # JSON that validates the schema
    schema_: JsonSchema = Field(alias="schema")  # the JSON schema


class OutputConfig(Part):
    """How hard to work on the reply, and what its answer is held to."""

    place: ClassVar[str] = "output_config"

    effort: OutputEffort | None = None  # how hard to think, as `reasoning_effort`
    format: OutputFormat | None = None  # what the answer is held to


class MessagesRequest(MessagesTools, GenerationFields):
    """A conversation to go on with. Every field but `messages` may be left out or null."""

    here: ClassVar[Mapping[str, Treatment]] = HERE
    places: ClassVar[Mapping[str, Mapping[str, Treatment]]] = MESSAGES_PLACES

    messages: Turns  # the conversation so far, at least one message; the reply goes on with an assistant's last one
    system: System = None  # what the model is told before the conversation: a text, or a list of text blocks
    max_tokens: Limit = None  # longest reply, thought and answer together, tokens; null: the server's default
    stop_sequences: StopTexts = ()  # texts that end the answer, at most 4; they are left out of it
    # whether to think, and how long; null: as the server has it, and the thought is not shown
    thinking: MessagesThinking | None = None
    output_config: OutputConfig | None = None  # how hard to work on the reply, and what its answer is held to
    # Anthropic's tier, `auto` or `standard_only`, or OpenAI's
    service_tier: Annotated[
        Tier | None, BeforeValidator(_tier, json_schema_input_type=Tier | Literal["standard_only"] | None)
    ] = None

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def limit_name(self) -> str:
        return "max_tokens"

    @property
    def takes_less(self) -> bool:
        return True

    @property
    def prompt_name(self) -> str:
        return "messages"

    @property
    def stops(self) -> tuple[str, ...]:
        return self.stop_sequences + self.stop

    @property
    def policy(self) -> ReasoningPolicy:
        said = super().policy
        asked = self.wants_thought is True and (self.thinking is not None or super().asks_for_thought is not None)
        omitted = self.thinking is not None and self.thinking.display == "omitted"
        return replace(said, expose=said.expose and asked and not omitted)

    @property
    def asks_for_thought(self) -> str | None:
        field = super().asks_for_thought
        adaptive = self.thinking is not None and self.thinking.type == "adaptive"  # leaves it to the model
        return None if field == "thinking" and adaptive else field

    @property
    def _effort(self) -> str | None:
        own = None if self.output_config is None else self.output_config.effort
        return super()._effort or own

    def _grammars(self) -> Iterator[Grammar]:
        form, name = None if self.output_config is None else self.output_config.format, "output_config.format"
        grammar = None if form is None else format_grammar(form.type, form.schema_, name, f"{name}.schema")
        if grammar is not None:
            yield grammar
        yield from super()._grammars()

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        return chat.begin(
            conversation(self.system, self.messages),
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
            continued=self.messages[-1].role == "assistant",
            tools=() if (offer := self.offer) is None else offer.tools,
        )

    @property
    def said(self) -> Words:
        return said_in(((turn.role, turn.content) for turn in self.messages if turn.content), self.system)


UNCOUNTED = ("max_tokens", "stop_sequences", "stream", "temperature", "thinking", "top_k", "top_p", "output_config")


class CountTokensRequest(MessagesTools, RequestBody):
    """A conversation whose tokens are to be counted."""

    here: ClassVar[Mapping[str, Treatment]] = {**HERE, **dict.fromkeys(UNCOUNTED, Indifferent.UNSAID)}
    places: ClassVar[Mapping[str, Mapping[str, Treatment]]] = MESSAGES_PLACES

    model: str | None = None  # name of the served model; null: the served model
    messages: Turns  # the conversation, at least one message
    system: System = None  # what the model is told before the conversation: a text, or a list of text blocks


class TokenCount(BaseModel):
    """How long a conversation is."""

    input_tokens: int  # tokens of the conversation, in the chat template
