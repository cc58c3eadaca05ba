"""What the log and the spans tell of one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.serving.request import Outcome

ABANDONED = "abandoned"  # a finish reason: the client has gone


@dataclass(slots=True, kw_only=True)
class RequestLog:
    """What entrance, gate and application note of one request until its log line is written."""

    request_id: str = ""  # "": the request did not come through the entrance
    key: str | None = None  # the name of its key; None: it needs none
    body: str | None = None  # None: bodies are not logged
    reply: str | None = None  # the reply's id; None: no reply was begun
    finish_reason: str | None = None  # a FinishReason's value, or ABANDONED; None: the reply has not ended
    outcome: Outcome | None = None  # None: the reply has not ended, or the engine or the client failed first

    def ended(self, outcome: Outcome) -> None:
        """Notes the reply's end."""
        self.finish_reason, self.outcome = outcome.finish_reason.value, outcome

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the log line, without the request's id; those that are unknown are left out."""
        noted = {"key": self.key, "body": self.body, "reply": self.reply, "finish_reason": self.finish_reason}
        known: dict[str, Any] = {name: value for name, value in noted.items() if value is not None}
        return known if self.outcome is None else known | _account(self.outcome)


def _account(outcome: Outcome) -> dict[str, Any]:
    """Returns log fields: why a reply's thought ended and what the reply cost, without any text."""
    thought = outcome.thought
    return {
        "exit_reason": None if thought.exit_reason is None else str(thought.exit_reason),
        "prompt_tokens": outcome.sent_tokens,
        "completion_tokens": outcome.decoded_tokens,
        "reasoning_tokens": thought.tokens,
        "probes": thought.probes,
        "queue_ms": round(outcome.queue_s * 1e3, 1),
    }
