"""Everything in a model directory but its weights: tokenizer, thinking format and sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.directory import check_directory, gguf_of
from models.foreign import told
from models.formats.recognition import ModelSigns, choose_format, doubt, signs_of
from models.generation import GenerationDefaults, read_generation_defaults
from models.grammar.compiling import Grammars
from models.grammar.grammar import Grammar
from models.grammar.vocabulary import GrammarVocabulary
from models.prompts.habits import Habits, learn
from models.prompts.history import begun_thought, with_thought_apart
from models.prompts.template import Chat
from models.thinking import ThinkingTokens, ThoughtState
from models.tokenizer import ChatTokenizer, TokenizerError
from models.tools.form import CallFormat
from models.tools.grammar import calls_grammar
from models.tools.history import with_tools
from models.tools.offer import OfferedTool, ToolOffer
from models.tools.writing import HOUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Tokens that a reply goes on from."""

    tokens: tuple[int, ...]
    thinking: bool  # they end inside an open thought
    closed: bool = False  # they end behind a thought of the reply
    continues: bool = False  # they end within a text that the reply goes on with, its white space included


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model's tokenizer, thinking format and sampling defaults."""

    tokenizer: ChatTokenizer
    thinking: ThinkingTokens
    defaults: GenerationDefaults
    habits: Habits  # of the chat template
    trust_markers: bool = False  # markers that messages spell become control tokens
    rows: int | None = None  # tokens that the model has a row for; None: not known
    format_source: str = ""  # in words, how the thinking format was come by
    doubt: str = ""  # in words, why the format that was named may not be the model's; empty: nothing speaks against it

    def prompt(self, messages: Sequence[Mapping[str, Any]], *, thinking: bool = True) -> tuple[int, ...]:
        """Returns a chat as prompt tokens that end inside an open thought, or behind an empty one without `thinking`.

        Where the chat template closes the thought itself, they end behind that one.
        Raises TokenizerError if the chat template rejects the messages.
        """
        return self.begin(messages, thinking=thinking).tokens

    def question(self, text: str) -> tuple[int, ...]:
        """Returns a question as prompt tokens that end inside an open thought.

        Raises TokenizerError if the chat template begins none, or if the model is served without thoughts.
        """
        if self.thinking.format.plain:
            raise TokenizerError(f"no thought can be measured: the model has none ({self.format_source}); {OPENLY}")
        prompt = self.begin([{"role": "user", "content": text}])
        if not prompt.thinking:
            raise TokenizerError(f"the chat template leaves no open thought after {text[:40]!r}: none can be measured")
        return prompt.tokens

    def begin(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        thinking: bool | None = True,
        options: Mapping[str, Any] | None = None,
        effort: str | None = None,
        continued: bool = False,
        header: bool = True,
        tools: Sequence[OfferedTool] = (),
    ) -> Prompt:
        """Returns a chat as the prompt of a reply; the rendered chat says whether the reply begins with a thought.

        `thinking` sets the switches that templates know, before `options`, the template's variables; None: nobody has
        said. `effort`: how hard to think, for templates that can say so; None: nobody has said. `continued`: the reply
        goes on with the last message. `header`: see `Chat`. `tools`: that the reply may call.
        Raises TokenizerError if the chat template rejects the messages, or the model lacks a token.
        """
        form = self.thinking.format
        if thinking is None and (form.in_the_open or not form.unasked):
            thinking = form.unasked
        variables = {**self._switches(thinking), **self._effort(effort), **(options or {})}
        chat, then = self._chat(messages, variables, continued=continued, header=header, tools=tools)
        tokens = tuple(self.tokenizer.render(chat, trusted=self.trust_markers, then=then))
        if form.in_the_open:
            self.check(tokens)
            return Prompt(tokens=tokens, thinking=thinking is not False, continues=continued)
        state = self.thinking.state(tokens, self.turns)
        if state is ThoughtState.OPEN and thinking is False:
            tokens, state = tokens + self.thinking.closing, ThoughtState.CLOSED
        elif state is ThoughtState.NOT_BEGUN and header and not continued and not self._template_decides(thinking):
            tokens += self.thinking.opening if thinking is not False else self.thinking.opening + self.thinking.closing
            state = ThoughtState.CLOSED if thinking is False else ThoughtState.OPEN
        self.check(tokens)
        return self._ending(tokens, state, continued=continued)

    def raw(self, prompt: str | Sequence[int]) -> Prompt:
        """Returns a text or tokens without a chat template as the prompt of a reply; markers in them count.

        Raises TokenizerError if the model lacks a token.
        """
        tokens = tuple(self.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else prompt)
        self.check(tokens)
        return self._ending(tokens, self.thinking.state(tokens, self.turns), continued=True)

    def check(self, tokens: Sequence[int]) -> None:
        """Raises TokenizerError if the model has no row for a token."""
        highest, limit = max(tokens, default=0), self.rows
        if limit is not None and highest >= limit:
            text = self.tokenizer.texts[highest] if highest < len(self.tokenizer.texts) else ""
            raise TokenizerError(f"the prompt has token {highest} ({text!r}), must lie in 0…{limit - 1}")

    def _ending(self, tokens: tuple[int, ...], state: ThoughtState, *, continued: bool) -> Prompt:
        begins = state is ThoughtState.OPEN and self.thinking.just_opened(tokens)  # white space is the marker's
        return Prompt(
            tokens=tokens,
            thinking=state is ThoughtState.OPEN,
            closed=state is ThoughtState.CLOSED,
            continues=continued and not begins,
        )

    @property
    def call_form(self) -> CallFormat | None:
        """How the model writes tool calls; None: it takes tools, and nothing is known of how it calls them."""
        if self.tokenizer.tool_habits.variable is None:
            return HOUSE
        return self.thinking.format.tools or self.tokenizer.call_form

    def calls_grammar(self, offer: ToolOffer, answer: Grammar | None) -> Grammar | None:
        """Returns what holds an answer that may call tools, and without calls is held to `answer`; None: nothing does.

        Raises GrammarError if that cannot be done.
        """
        form, tokenizer = self.call_form, self.tokenizer
        return answer if form is None else calls_grammar(form, offer, tokenizer, tokenizer.markers.ids, answer)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end a reply."""
        return self.tokenizer.eos_ids | self.defaults.stop_tokens

    def grammars(self, *, ahead: bool = False) -> Grammars:
        """Returns what compiles grammars for the model; its vocabulary is read when it is first needed.

        `ahead`: see Grammars.
        """
        return Grammars(lambda: GrammarVocabulary(self.tokenizer, self.stop_tokens, self.rows), ahead=ahead)

    @property
    def needed(self) -> frozenset[int]:
        """Every token without which the model cannot be served."""
        return self.thinking.ids | self.stop_tokens | self.turns

    @property
    def turns(self) -> frozenset[int]:
        """The control tokens between the turns of a chat."""
        return self.stop_tokens | self.habits.turns

    def _template_decides(self, thinking: bool | None) -> bool:
        """Whether a chat template that has written no marker means no thought by that."""
        return self.habits.opens or (thinking is False and self.habits.switches)

    def _chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        *,
        continued: bool,
        header: bool,
        tools: Sequence[OfferedTool],
    ) -> tuple[Chat, tuple[str, ...]]:
        """Returns what is to be rendered, and the texts that follow it: a thought that the last message has begun."""
        form, closing = self.thinking.format, self.thinking.format.closers[0]
        apart = self.tokenizer.template.reads_thoughts and not form.in_the_open
        last = messages[-1]
        chat = [
            with_thought_apart(each, form.open, closing) if apart and not (continued and each is last) else dict(each)
            for each in messages
        ]
        chat, offered, options = self._with_tools(chat, options, tools)
        if not continued:
            return Chat(messages=chat, options=options, tools=offered, header=header), ()
        begun = None if form.in_the_open else begun_thought(last, form.open, closing)
        if begun is None:
            return Chat(messages=chat, options=options, tools=offered, continued=True), ()
        before = Chat(messages=chat[:-1], options=options, tools=offered)
        tokens = self.tokenizer.render(before, trusted=self.trust_markers)
        state = self.thinking.state(tokens, self.turns)
        if state is ThoughtState.CLOSED:
            raise TokenizerError("the last message begins a thought, but the chat template closes the thought itself")
        if state is ThoughtState.NOT_BEGUN:
            return before, begun
        marked = tuple(tokens[-len(self.thinking.open) :]) == self.thinking.open
        first = begun[1] if marked else begun[1].removeprefix("\n")
        return before, (first, *begun[2:])

    def _with_tools(
        self, messages: list[dict[str, Any]], options: Mapping[str, Any], tools: Sequence[OfferedTool]
    ) -> tuple[list[dict[str, Any]], tuple[Mapping[str, Any], ...], Mapping[str, Any]]:
        """Returns messages, tools and variables as the chat template takes them."""
        if not tools and not any(message.get("tool_calls") for message in messages):
            return messages, (), options
        offer = [tool.for_template for tool in tools]
        tokenizer = self.tokenizer
        made = with_tools(messages, offer, tokenizer.tool_habits, self.call_form, tokenizer.markers.hide)
        return made.messages, made.tools, {**options, **made.variables}

    def _switches(self, thinking: bool | None) -> dict[str, bool]:
        """Returns the variables by which templates know whether to think; without a word of the client, the usual."""
        own = dict.fromkeys(self.thinking.format.switches, thinking is not False)
        return own | ({"enable_thinking": True} if thinking is None else dict.fromkeys(SWITCHES, thinking))

    def _effort(self, effort: str | None) -> dict[str, str]:
        """Returns the variable by which the template knows how hard to think, if it has a word for this effort."""
        form = self.thinking.format.effort
        level = None if form is None or effort is None else form.level(effort)
        return {} if form is None or level is None else {form.variable: level.word}


OPENLY = "--thinking open has it reason in the content of its replies"
SWITCHES = "enable_thinking", "thinking"


def load_chat_model(
    directory: Path,
    thinking_format: Path | None = None,
    *,
    trust_markers: bool = False,
    chat_template: Path | None = None,
) -> ChatModel:
    """Read a model's directory or GGUF file. Raises TokenizerError, GGUFError or ConfigError naming the file at fault.

    `thinking_format` is the file of the thinking format; None: see `models.formats.recognition.choose_format`.
    `chat_template` is the file of a chat template, which must take a question; None: the model's own.
    """
    if gguf_of(directory) is None:
        check_directory(directory, TokenizerError)
    tokenizer = ChatTokenizer(directory, chat_template)

    def signs() -> ModelSigns:
        return signs_of(directory, tokenizer.template.source, frozenset(tokenizer.texts))

    def rendered(chat: Chat) -> list[int] | None:
        try:
            return tokenizer.render(chat)
        except TokenizerError:
            return None  # not every template takes a system's message; without any template, requests are told

    with told(f"{directory}: the tokenizer cannot be used", TokenizerError):
        chosen = choose_format(directory, thinking_format, signs)
        doubted = doubt(chosen.form, signs()) if thinking_format is not None else ""
        thinking = ThinkingTokens(chosen.form, tokenizer)
        if not trust_markers:
            tokenizer.name(thinking.singles)
            _ = tokenizer.markers.copy  # made now, not for the first client
        if chat_template is not None:
            _check_template(tokenizer, chat_template)
        habits = learn(rendered, tokenizer.markers.ids, thinking)
    return ChatModel(
        tokenizer=tokenizer,
        thinking=thinking,
        habits=habits,
        defaults=read_generation_defaults(directory),
        trust_markers=trust_markers,
        format_source=chosen.source,
        doubt=doubted,
    )


def _check_template(tokenizer: ChatTokenizer, file: Path) -> None:
    """Raises TokenizerError, which names the template's file, if the template cannot render a question."""
    try:
        tokenizer.render(Chat(messages=[{"role": "user", "content": "?"}]))
    except TokenizerError as error:
        raise TokenizerError(f"{file}: {error}") from error
