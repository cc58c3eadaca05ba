"""Reads the reasoning fields of many servers' APIs into one policy.

| field | known from |
|---|---|
| `reasoning_effort` | OpenAI |
| `reasoning: {effort, enabled, max_tokens, exclude}` | OpenAI's responses, OpenRouter |
| `thinking: {type, budget_tokens}` | Anthropic |
| `thinking_token_budget`, `include_reasoning` | vLLM |
| `reasoning_budget`, `reasoning_budget_tokens`, `thinking_budget_tokens`, `reasoning_budget_message` | llama.cpp |
| `thinking_budget` | TabbyAPI, Qwen |
| `chat_template_kwargs: {enable_thinking, thinking, …}`, all of it given to the chat template | Qwen, DeepSeek |
| `enable_thinking` | DashScope, SiliconFlow |
| `think`: true, false, or an effort | Ollama |

Precedence for the budget: a number of tokens; then −1, which leaves the budget to the server; then an effort, as the
model's thinking format says or else as a share of the reply; then the load-aware controller or the server's own
settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from laser.server.api.base import INTEGER, Fields, Switch, encodable
from laser.server.api.errors import shown
from models.formats.form import EffortFormat
from models.prompts.markers import texts_of

T = TypeVar("T")


class Effort(StrEnum):
    """How hard to think, in OpenAI's words."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortShares:
    """The share of a reply's tokens that each effort may spend on the thought. None: the server sets the budget."""

    # share of a reply's tokens that `minimal` may spend on the thought; None: the server's budget
    minimal: float | None = 0.1
    low: float | None = 0.2  # share for `low`; None: the server's budget
    medium: float | None = None  # share for `medium`, which most clients send by default; None: the server's budget
    high: float | None = 0.8  # share for `high`; None: the server's budget
    xhigh: float | None = 0.95  # share for `xhigh`; None: the server's budget
    max: float | None = 1.0  # share for `max`; None: the server's budget

    def __post_init__(self) -> None:
        for effort in Effort:
            share = self.share(effort)
            if share is not None and not 0.0 <= share <= 1.0:
                raise ValueError(f"{effort} is {share}, must lie in 0…1")

    def share(self, effort: Effort) -> float | None:
        """Returns an effort's share; None: the effort sets no budget."""
        return None if effort is Effort.NONE else getattr(self, effort.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPolicy:
    """What a client requests for the thought."""

    enabled: bool = True
    effort: Effort | None = None  # None: not stated
    max_tokens: int | None = None  # thinking budget; None: set by the effort, else by the server
    message: str | None = None  # text that closes a thought that is cut; None: the thinking format's
    expose: bool = True  # whether the thought is part of the response

    def budget(self, reply_tokens: int, shares: EffortShares, form: EffortFormat | None = None) -> int | None:
        """Returns the thought's budget in a reply of at most `reply_tokens` tokens; None: the server sets it.

        `form`: the efforts that the model's chat template knows, whose levels replace the shares; None: it knows none.
        """
        if not self.enabled:
            return 0  # for prompts that open the thought themselves
        if self.max_tokens is not None:
            return min(self.max_tokens, reply_tokens)  # more means the same, and may not fit a message's 64 bits
        level = None if form is None or self.effort is None else form.level(self.effort)
        if level is not None:
            return level.budget
        share = None if self.effort is None else shares.share(self.effort)
        return None if share is None else int(share * reply_tokens)


SILENT = frozenset({"include_reasoning", "reasoning_budget_message"})  # fields that ask for no thought
Budget = Annotated[int, Field(ge=-1, strict=True), INTEGER]
EffortWord = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ReasoningOptions(Fields):
    """OpenAI's and OpenRouter's object."""

    place: ClassVar[str] = "reasoning"

    effort: EffortWord | None = None  # how hard to think, as `reasoning_effort`
    enabled: Switch | None = None  # false: answer without a thought
    max_tokens: Budget | None = None  # thinking budget, tokens; −1: the server sets the budget
    exclude: Switch | None = None  # true: the model thinks, and the response leaves the thought out


class ThinkingOptions(Fields):
    """Anthropic's object."""

    place: ClassVar[str] = "thinking"

    type: Literal["enabled", "disabled", "adaptive"] | None = None  # `disabled`: answer without a thought
    budget_tokens: Budget | None = None  # thinking budget, tokens; −1: the server sets the budget


class TemplateOptions(Fields):
    """The chat template's variables that a request may set; of two LASER reads the meaning, too."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    enable_thinking: Switch | None = None  # false: answer without a thought, in the words of Qwen's template
    thinking: Switch | None = None  # false: answer without a thought, in the words of DeepSeek's template

    @model_validator(mode="after")
    def _whole_characters(self) -> Self:
        for text in texts_of(self.model_extra or {}):
            encodable(text)
        return self

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as the template gets them; a switch that is null is not given."""
        given = {"enable_thinking": self.enable_thinking, "thinking": self.thinking}
        return {name: value for name, value in given.items() if value is not None} | (self.model_extra or {})


def _object(switch: object) -> object:
    """Converts `thinking: true`, which some clients send, to Anthropic's object."""
    return {"type": "enabled" if switch else "disabled"} if isinstance(switch, bool) else switch


Thinking = ThinkingOptions | Switch | None
ThinkWord = Literal["low", "medium", "high"]


def _think(given: object) -> object:
    if given is not None and not isinstance(given, bool) and given not in get_args(ThinkWord):
        raise ValueError(f"is {shown(given)}, must be true, false, {', '.join(map(repr, get_args(ThinkWord)))}")
    return given


class ReasoningFields(Fields):
    """What requests may say of the thought, in all dialects."""

    # how hard to think: a share of the reply's tokens; `none` turns thinking off
    reasoning_effort: EffortWord | None = None
    reasoning: ReasoningOptions | None = None  # effort, switch and budget of the thought in one object
    # switch and budget of the thought in one object, or the switch alone
    thinking: Annotated[ThinkingOptions | None, BeforeValidator(_object, json_schema_input_type=Thinking)] = None
    thinking_token_budget: Budget | None = None  # thinking budget, tokens; −1: the server sets the budget
    reasoning_budget_tokens: Budget | None = None  # as thinking_token_budget
    thinking_budget_tokens: Budget | None = None  # as thinking_token_budget
    reasoning_budget: Budget | None = None  # as thinking_token_budget
    thinking_budget: Budget | None = None  # as thinking_token_budget
    # text that closes a thought that is cut; null: the thinking format's landing
    reasoning_budget_message: Annotated[str, BeforeValidator(encodable)] | None = None
    chat_template_kwargs: TemplateOptions | None = None  # variables for the chat template
    enable_thinking: Switch | None = None  # false: answer without a thought
    # false: answer without a thought; a word: as `reasoning_effort`
    think: Annotated[
        bool | ThinkWord | None, BeforeValidator(_think, json_schema_input_type=Switch | ThinkWord | None)
    ] = None
    include_reasoning: Switch | None = None  # false: the model thinks, and the response leaves the thought out

    @property
    def template_variables(self) -> dict[str, Any]:
        """The chat template's variables that the client sets."""
        return {} if self.chat_template_kwargs is None else self.chat_template_kwargs.variables

    @property
    def wants_thought(self) -> bool | None:
        """Whether the client wants a thought; None: it has said nothing of it."""
        reasoning, thinking = self.reasoning or ReasoningOptions(), self.thinking or ThinkingOptions()
        template = self.chat_template_kwargs or TemplateOptions()
        effort, number = self._effort, self._number
        return _first(
            template.enable_thinking,
            template.thinking,
            self.enable_thinking,
            None if thinking.type is None else thinking.type != "disabled",
            reasoning.enabled,
            None if self.think is None else self.think is not False,
            None if effort is None and number is None else effort != Effort.NONE or number is not None,
        )

    @property
    def effort_word(self) -> str | None:
        """How hard to think, for the chat template; None: the client has not said it."""
        return self._effort

    @property
    def asks_for_thought(self) -> str | None:
        """The field that asks for a thought by name, whatever the server does by default; None: none does."""
        if self.wants_thought is not True or self._number == 0:
            return None
        given = (name for name in ReasoningFields.model_fields if getattr(self, name) is not None)
        return next((name for name in given if name not in SILENT), None)

    @property
    def policy(self) -> ReasoningPolicy:
        """All reasoning fields merged into one policy."""
        effort, hidden = self._effort, self.reasoning is not None and self.reasoning.exclude
        return ReasoningPolicy(
            enabled=self.wants_thought is not False,
            effort=None if effort is None or -1 in self._budgets else Effort(effort),
            max_tokens=self._number,
            message=self.reasoning_budget_message or None,
            expose=self.include_reasoning is not False and not hidden,
        )

    @property
    def _effort(self) -> str | None:
        word = self.think if isinstance(self.think, str) else None
        return _first(self.reasoning_effort, None if self.reasoning is None else self.reasoning.effort, word)

    @property
    def _number(self) -> int | None:
        return next((budget for budget in self._budgets if budget is not None and budget >= 0), None)

    @property
    def _budgets(self) -> tuple[int | None, ...]:
        return (
            self.thinking_token_budget,
            self.reasoning_budget_tokens,
            self.thinking_budget_tokens,
            self.reasoning_budget,
            self.thinking_budget,
            None if self.reasoning is None else self.reasoning.max_tokens,
            None if self.thinking is None else self.thinking.budget_tokens,
        )


def _first(*options: T | None) -> T | None:
    return next((option for option in options if option is not None), None)
