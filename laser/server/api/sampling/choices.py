"""Fields that ask for several replies to one prompt, and for the log-probabilities of their tokens."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from laser.server.api.base import INTEGER, Fields, Switch
from laser.server.api.errors import BadRequest, shown

MOST_CHOICES = 128  # OpenAI's limit; a server's own is the number of replies that it decodes at once
MOST_LIKELY = 20  # OpenAI's limit of top_logprobs

Choices = Annotated[int, Field(ge=1, le=MOST_CHOICES, strict=True), INTEGER]
Likely = Annotated[int, Field(ge=0, le=MOST_LIKELY, strict=True), INTEGER]


def _likely(given: object) -> object:
    return None if given is False else given  # of the newer API, where it is a switch


class Several(Fields):
    """How many replies a request asks for, and what log-probabilities call tokens."""

    n: Choices | None = None  # number of replies, each with a thought of its own; null: 1
    # true: log-probabilities call tokens `token_id:` and their number, since texts may be alike
    return_tokens_as_token_ids: Switch | None = None

    @property
    def names_ids(self) -> bool:
        """Whether log-probabilities call tokens by their numbers."""
        return bool(self.return_tokens_as_token_ids)

    @property
    def sent_choices(self) -> int:
        """The number of replies that the client gets."""
        return self.n or 1

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, if more replies are asked for than are decoded at once: `most`."""
        _check("n", self.sent_choices, most)


class ChatChoices(Several):
    """What a chat may say of its replies: how many, and whether with log-probabilities."""

    logprobs: Switch | None = None  # true: the reply tells the log-probabilities of its tokens
    top_logprobs: Likely | None = None  # likeliest tokens that are told in each place, beside `logprobs`; null: 0

    @property
    def log_probs(self) -> int | None:
        """The number of likeliest tokens to tell of each token; None: no log-probabilities are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, for too many replies, or for likeliest tokens of none."""
        super().check_choices(most)
        if self.top_logprobs and not self.logprobs:
            message = f"top_logprobs is {self.top_logprobs}, must be 0 or left out unless logprobs is true"
            raise BadRequest(message, param="top_logprobs")


class TextChoices(Several):
    """What a completion may say of its replies, in OpenAI's older words."""

    # number of replies that are decoded, of which the `n` with the likeliest answers are sent; null: `n`
    best_of: Choices | None = None
    # likeliest tokens that are told in each place, beside the chosen one; null: no log-probabilities are told
    logprobs: Annotated[Likely | None, BeforeValidator(_likely)] = None
    echo: Switch | None = None  # true: the text begins with the prompt

    @property
    def log_probs(self) -> int | None:
        """The number of likeliest tokens to tell of each token; None: no log-probabilities are asked for."""
        return self.logprobs

    @property
    def made_choices(self) -> int:
        """The number of replies that are decoded, of which the best are sent."""
        return self.best_of or self.sent_choices

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, for too many replies, or for fields that exclude one another."""
        super().check_choices(most)
        _check("best_of", self.made_choices, most)
        if self.made_choices < self.sent_choices:
            raise BadRequest(f"best_of is {self.best_of}, must be at least n, which is {self.n}", param="best_of")
        if self.made_choices > self.sent_choices and getattr(self, "stream", None):
            message = f"best_of is {self.best_of}, must be n in a stream: the best is known when all have ended"
            raise BadRequest(message, param="best_of")


LOGPROBS = "message.output_text.logprobs"
Included = Literal["message.output_text.logprobs", "reasoning.encrypted_content"]


def _included(given: object) -> object:
    """Returns what is to be included. Raises ValueError for what a response here cannot have."""
    known = ", ".join(map(repr, get_args(Included)))
    if given is not None and not isinstance(given, list):
        raise ValueError(f"is {shown(given)}, must be a list of {known}")
    for each in given or ():
        if each not in get_args(Included):
            raise ValueError(f"has {shown(each)}, which is not done here, must be of {known}")
    return None if given is None else tuple(given)


class ResponseChoices(Fields):
    """What a request for a response may say of log-probabilities; there is one reply."""

    # what the response has besides: log-probabilities of the answer's tokens; thoughts are never encrypted
    include: Annotated[tuple[Included, ...] | None, BeforeValidator(_included)] = None
    # likeliest tokens that are told in each place, where `include` asks for log-probabilities; null: 0
    top_logprobs: Likely | None = None

    @property
    def log_probs(self) -> int | None:
        """The number of likeliest tokens to tell of each token; None: no log-probabilities are asked for."""
        return (self.top_logprobs or 0) if LOGPROBS in (self.include or ()) else None

    def check_choices(self, most: int) -> None:
        """Raises BadRequest, which names the field, for likeliest tokens of none."""
        if self.top_logprobs and self.log_probs is None:
            message = f"top_logprobs is {self.top_logprobs}, must be 0 or left out unless include has {LOGPROBS!r}"
            raise BadRequest(message, param="top_logprobs")


def _check(name: str, choices: int, most: int) -> None:
    if choices > most:
        raise BadRequest(
            f"{name} is {choices}, must be at most {most}: so many replies are decoded at once", param=name
        )
