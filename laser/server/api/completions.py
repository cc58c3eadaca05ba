"""OpenAI's older completions API: a bare prompt, no chat template.

The prompt is encoded as the model's tokenizer encodes a text, with the BOS that it adds, and markers in it count. If
the prompt ends inside an open thought, LASER controls that thought as usual: `text` is then the answer, and
`reasoning` the thought. Any other prompt is simply continued; a model without markers reasons in the open if asked to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome
from laser.server.api import dialects
from laser.server.api.base import encodable, integer
from laser.server.api.errors import BadRequest, shown
from laser.server.api.fields import GenerationFields, LimitOrNothing, StreamOptions
from laser.server.api.sampling.choices import TextChoices
from laser.server.api.sampling.log_probs import TextScores
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
from laser.server.api.tools.reply import CallDelta
from models.chat_model import ChatModel
from models.chat_model import Prompt as Begun
from models.tokenizer import TokenizerError

DEFAULT_TOKENS = 16  # OpenAI's default


def _tokens(prompt: object) -> tuple[int, ...] | None:
    """Returns the prompt as a tuple of tokens, 5.0 as 5; None: the prompt is no list of integers, or is empty."""
    if not isinstance(prompt, list) or not prompt or not set(map(type, prompt)) <= {int, float}:
        return None  # one check of the set of types, since there may be a million tokens
    tokens = tuple(map(integer, prompt))
    return tokens if set(map(type, tokens)) == {int} else None  # type: ignore[return-value]


def _prompt(prompt: object) -> object:
    """Returns the prompt as a text or a tuple of tokens. Raises ValueError if it is neither, empty or several."""
    tokens = _tokens(prompt)
    if tokens is None and isinstance(prompt, list) and prompt:
        if len(prompt) > 1:
            raise ValueError(f"has {len(prompt)} entries, must be 1: one prompt is answered per request")
        (prompt,) = prompt
        tokens = _tokens(prompt)
    if tokens is not None:
        return tokens
    if not isinstance(prompt, str) or not prompt:
        raise ValueError("must be a text or a list of tokens, and not empty")
    return encodable(prompt)


Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Prompt = Text | TokenIds | Annotated[list[Text | TokenIds], Field(min_length=1, max_length=1)]


class TextRequest(TextChoices, GenerationFields):
    """A text to continue."""

    endpoint: ClassVar[str] = dialects.COMPLETIONS

    # a text or its tokens, which the reply continues
    prompt: Annotated[str | tuple[int, ...], BeforeValidator(_prompt, json_schema_input_type=Prompt)]
    stream_options: StreamOptions | None = None  # what a stream carries besides the reply
    # longest reply, thought and answer together, tokens; 0: none, beside `echo` and `logprobs`; null: the server's
    # default
    max_tokens: LimitOrNothing = DEFAULT_TOKENS

    @property
    def scores_prompt(self) -> bool:
        return bool(self.echo) and self.logprobs is not None

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, for too many replies, or for fields that exclude one another."""
        super().check_choices(most)
        if self.scores_prompt:
            self._check_scored()
        elif self.max_tokens == 0:
            message = (
                "max_tokens is 0, must be at least 1 unless echo and logprobs ask for the prompt's log-probabilities"
            )
            raise BadRequest(message, param="max_tokens")

    def _check_scored(self) -> None:
        """Raises BadRequest for what cannot be beside the log-probabilities of a prompt."""
        openly = self.laser is not None and self.laser.thinking is not None
        for name, given, must in (
            ("max_tokens", self.max_tokens not in (0, 1), "0 or 1"),
            ("n", self.sent_choices > 1, "1"),
            ("best_of", self.made_choices > 1, "1"),
            ("stream", self.streamed, "false"),
            (self.asks_for_thought or "", self.asks_for_thought is not None, "left out"),
            ("laser.thinking", openly, "left out"),
        ):
            if given:
                value = f"is {shown(getattr(self, name))}, " if must != "left out" else ""
                why = "beside echo and logprobs, which tell how likely the prompt's tokens were"
                raise BadRequest(f"{name} {value}must be {must} {why}", param=name)

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def limit_name(self) -> str:
        return "max_tokens"

    @property
    def prompt_name(self) -> str:
        return "prompt"

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def echoed(self, chat: ChatModel) -> str:
        if not self.echo:
            return ""
        return self.prompt if isinstance(self.prompt, str) else chat.tokenizer.decode(self.prompt)

    def prompt_tokens(self, chat: ChatModel) -> Begun:
        wanted = self.thought_wanted(chat)
        if isinstance(self.prompt, str):
            prompt = chat.raw(self.prompt)
        else:
            known = len(chat.tokenizer.texts)
            for outermost in (min(self.prompt), max(self.prompt)):
                if not 0 <= outermost < known:
                    raise TokenizerError(f"prompt has token {outermost}, must lie in 0…{known - 1}")
            prompt = chat.raw(self.prompt)
        return replace(prompt, thinking=True) if wanted and chat.thinking.format.in_the_open else prompt


class TextChoice(BaseModel):
    """A continuation."""

    index: int = 0  # place of the choice, from 0
    text: str  # what was written, without the thought; behind the prompt, if `echo` asks for it
    reasoning: str | None  # the thought; null: there was none, or the client hides it
    finish_reason: FinishWord  # why the reply ended: at its own end, or at the token limit
    logprobs: TextScores | None = None  # log-probabilities of its tokens; null: not asked for
    laser: LaserDetails | None = None  # how its thought went, where there are several choices; null: see the reply's


class TextCompletion(BaseModel):
    """A whole continuation."""

    id: str  # of the reply
    object: Literal["text_completion"] = "text_completion"  # kind of the object
    created: int  # time of the request, s since 1970
    model: str  # name of the served model
    choices: list[TextChoice]  # the continuation, or the continuations that `n` asks for
    usage: Usage  # tokens that were sent and decoded
    laser: LaserDetails  # how the thought went, of the first choice


@dataclass(frozen=True, slots=True)
class TextShape(Chunks):
    """See `laser.server.api.shape.ReplyShape`. A stream sends thought, text, finish reason, usage, [DONE]."""

    OBJECT = "text_completion"
    NOTHING: ClassVar[dict[str, str]] = {"text": ""}

    _sent: Counter[Channel] = field(default_factory=Counter)  # characters of a stream so far

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> TextCompletion:
        thought = reasoning if self.identity.show_reasoning and outcome.thought.exit_reason is not None else None
        return TextCompletion(
            id=self.identity.id,
            created=self.identity.created,
            model=self.identity.model,
            choices=[
                TextChoice(
                    text=self.identity.echo + content,
                    reasoning=thought,
                    finish_reason=finish_word(outcome),
                    logprobs=self._scored_with_prompt(scores, outcome),
                )
            ],
            usage=usage(outcome),
            laser=details(self.identity, outcome),
        )

    def opening(self) -> bytes:
        return self._chunk({"text": self.identity.echo}) if self.identity.echo else b""

    def piece(self, delta: Delta) -> bytes:
        if delta.channel is Channel.REASONING and not self.identity.show_reasoning:
            return b""
        text = delta.text
        said = {"text": text} if delta.channel is Channel.CONTENT else {"text": "", "reasoning": text}
        chunk = self._chunk(said, scores={delta.channel: delta.scores})
        self._sent[delta.channel] += len(text)
        return chunk

    def _scored(self, scores: Scores) -> TextScores | None:
        scoring, thought = self.identity.scoring, scores.get(Channel.REASONING)
        if scoring is None:
            return None
        said = scoring.text(scores.get(Channel.CONTENT, ()), self._sent[Channel.CONTENT])
        if thought and self.identity.show_reasoning:
            said.reasoning = scoring.text(thought, self._sent[Channel.REASONING])
        return said

    def _scored_with_prompt(self, scores: Scores, outcome: Outcome) -> TextScores | None:
        """Returns how likely the text's tokens were, and those before them where the prompt's are asked for."""
        header = self.identity
        if header.scoring is None or not header.prompt:
            return self._scored(scores)
        said = header.scoring.text(scores.get(Channel.CONTENT, ()), len(header.echo))
        return header.scoring.behind(header.prompt, outcome.prompt_scores, header.echo, said)

    def called(self, call: CallDelta) -> bytes:
        return b""  # this endpoint has no tools

    def _choice(self, said: dict[str, Any]) -> dict[str, Any]:
        return dict(said)


COMPLETIONS = Surface(
    path="/v1/completions",
    name="completions",
    description="Continue a text, whole or as a stream of server-sent events.",
    request=TextRequest,
    reply=TextCompletion,
    shape=TextShape,
    prefix="cmpl-",
)
