"""Log-probabilities of a reply's tokens, as OpenAI's chat, older completions and responses tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from controller.serving.choices.scores import TokenScore

LEAST = -9999.0  # stands for a log-probability that JSON cannot write


class LikelyToken(BaseModel):
    """A token that could have come in a place."""

    token: str  # its text
    logprob: float  # its log-probability: the model's own, before temperature, penalties and biases
    bytes: list[int]  # the bytes of its text, since a character may take several tokens


class ScoredToken(LikelyToken):
    """A token of a reply, and the likeliest ones in its place."""

    top_logprobs: list[LikelyToken]  # the likeliest tokens in its place, likeliest first


class ChatScores(BaseModel):
    """Log-probabilities of a reply's tokens: those that the model chose, not the server's words."""

    content: list[ScoredToken] | None  # of the answer's tokens
    refusal: None = None  # nothing is refused: null
    reasoning: list[ScoredToken] | None = None  # of the thought's tokens; null: it is hidden, or there is none


class TextScores(BaseModel):
    """Log-probabilities of a reply's tokens, in OpenAI's older format."""

    tokens: list[str]  # texts of the tokens
    token_logprobs: list[float | None]  # log-probability of each; null: of a prompt's first, before which there is none
    # the likeliest tokens in each place, null where `token_logprobs` has null; null: not asked for
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]  # where each token begins in the text, in characters
    reasoning: TextScores | None = None  # the same of the thought's tokens; null: it is hidden, or there is none


@dataclass(frozen=True, slots=True)
class Scoring:
    """Tells log-probabilities in a client's format."""

    spelled: Sequence[bytes]  # the bytes of each token
    likely: int  # tokens that are told in each place
    ids: bool = False  # tokens are called by their numbers, not by their texts

    def tokens(self, scores: Sequence[TokenScore]) -> list[ScoredToken]:
        """Returns a text's tokens in the newer format."""
        return [
            ScoredToken(
                **self._told(score.token, score.log_prob),
                top_logprobs=[LikelyToken(**self._told(*each)) for each in score.likeliest[: self.likely]],
            )
            for score in scores
        ]

    def text(self, scores: Sequence[TokenScore], start: int) -> TextScores:
        """Returns a text's tokens in the older format; the first begins `start` characters behind the text's head.

        As OpenAI's server does, `top_logprobs` has the chosen token, too, where it is none of the likeliest.
        """
        offsets, at = [], start
        for score in scores:
            offsets.append(at)
            at += len(self._text(score.token))
        likely: list[dict[str, float] | None] = [
            {self._name(token): _finite(log_prob) for token, log_prob in score.likeliest[: self.likely]}
            | {self._name(score.token): _finite(score.log_prob)}
            for score in scores
        ]
        return TextScores(
            tokens=[self._name(score.token) for score in scores],
            token_logprobs=[_finite(score.log_prob) for score in scores],
            top_logprobs=likely if self.likely else None,
            text_offset=offsets,
        )

    def behind(self, prompt: Sequence[int], scores: Sequence[TokenScore], echo: str, said: TextScores) -> TextScores:
        """Returns a prompt's tokens in the older format, and behind them those of what was `said`.

        `scores`: of the prompt's tokens but the first. `echo`: the prompt's text, which may lack what its tokens begin
        with: a BOS, or a blank.
        """
        texts = [self._text(token) for token in prompt]
        lead = len("".join(texts)) - len(echo) if "".join(texts).endswith(echo) else 0
        rest = self.text(scores, len(texts[0]) - lead)
        return TextScores(
            tokens=[self._name(prompt[0]), *rest.tokens, *said.tokens],
            token_logprobs=[None, *rest.token_logprobs, *said.token_logprobs],
            top_logprobs=[None, *(rest.top_logprobs or ()), *(said.top_logprobs or ())] if self.likely else None,
            text_offset=[0, *(max(0, at) for at in rest.text_offset), *said.text_offset],
        )

    def _told(self, token: int, log_prob: float) -> dict[str, Any]:
        return {"token": self._name(token), "logprob": _finite(log_prob), "bytes": list(self._bytes(token))}

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self.ids else self._text(token)

    def _text(self, token: int) -> str:
        return self._bytes(token).decode("utf-8", "replace")  # half a character is U+FFFD

    def _bytes(self, token: int) -> bytes:
        return self.spelled[token] if token < len(self.spelled) else b""  # vocabularies are padded


def _finite(log_prob: float) -> float:
    return max(LEAST, log_prob)


def mean(scores: Sequence[TokenScore]) -> float:
    """Returns the mean log-probability of an answer's tokens; LEAST if it has none."""
    return sum(_finite(score.log_prob) for score in scores) / len(scores) if scores else LEAST
