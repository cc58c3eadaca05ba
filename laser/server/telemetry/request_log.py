"""What the log and the spans tell of one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from controller.serving.request import Outcome
from engine.base import FinishReason

ABANDONED = "abandoned"  # a finish reason: the client has gone


class LogField(StrEnum):
    """A field of a request's line in the log; a field that is not known is left out."""

    REQUEST_ID = "request_id"  # name of the request, as in the header x-request-id
    MS = "ms"  # time from the request's head to the end of its response
    KEY = "key"  # name of the key
    BODY = "body"  # body of the request, with --log-bodies
    REPLY = "reply"  # id of the reply
    FINISH_REASON = "finish_reason"  # why the reply ended; `abandoned`: the client has gone
    EXIT_REASON = "exit_reason"  # why the thought ended; null: there was no thought, or it did not end
    PROMPT_TOKENS = "prompt_tokens"  # what the client sent, in the chat template
    COMPLETION_TOKENS = "completion_tokens"  # what the model decoded for the reply and for thoughts that lost its race
    REASONING_TOKENS = "reasoning_tokens"  # length of the thought
    PROBES = "probes"  # number of probes of the thought
    QUEUE_MS = "queue_ms"  # time until the request began


@dataclass(slots=True, kw_only=True)
class RequestLog:
    """What entrance, gate and application note of one request until its log line is written."""

    request_id: str = ""  # "": the request did not come through the entrance
    key: str | None = None  # the name of its key; None: it needs none
    body: str | None = None  # None: bodies are not logged
    reply: str | None = None  # the reply's id; None: no reply was begun
    finish_reason: str | None = None  # a FinishReason's value, or ABANDONED; None: the reply has not ended
    outcomes: list[Outcome] = field(default_factory=list)  # of the replies that have ended, one for each choice

    def ended(self, outcome: Outcome) -> None:
        """Notes the end of a reply; what was asked for has ended once no other goes on."""
        self.outcomes.append(outcome)
        if not outcome.going_on or outcome.finish_reason is FinishReason.ERROR:
            self.finish_reason = outcome.finish_reason.value

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the log line, without the request's id; those that are unknown are left out."""
        noted = {
            LogField.KEY: self.key,
            LogField.BODY: self.body,
            LogField.REPLY: self.reply,
            LogField.FINISH_REASON: self.finish_reason,
        }
        known: dict[str, Any] = {name: value for name, value in noted.items() if value is not None}
        return known | _account(self.outcomes) if self.outcomes else known


def _account(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns log fields: why the first choice's thought ended and what all choices cost, without any text."""
    first = min(outcomes, key=lambda outcome: outcome.choice)
    why = first.thought.exit_reason
    return {
        LogField.EXIT_REASON: None if why is None else str(why),
        LogField.PROMPT_TOKENS: sum(outcome.sent_tokens for outcome in outcomes),
        LogField.COMPLETION_TOKENS: sum(outcome.generated_tokens for outcome in outcomes),
        LogField.REASONING_TOKENS: sum(outcome.thought.tokens for outcome in outcomes),
        LogField.PROBES: sum(outcome.thought.probes for outcome in outcomes),
        LogField.QUEUE_MS: round(first.queue_s * 1e3, 1),
    }
