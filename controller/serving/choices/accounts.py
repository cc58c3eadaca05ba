"""What has become of a reply, and what it has cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controller.serving.active import ActiveRequest
from controller.serving.request import NO_THOUGHT, Outcome, Thought
from engine.base import FinishReason


def outcome(
    active: ActiveRequest, reason: FinishReason, now: float, *, error: str | None = None, expired: bool = False,
    retry_after_s: float | None = None, reproducible: bool = False,
) -> Outcome:  # fmt: skip
    """Returns the outcome of a reply, which ends now. For the parameters see Outcome."""
    thought, started_s = NO_THOUGHT, now if active.started_s is None else active.started_s
    if active.request.thinking and active.exit_reason is not None:
        thought = Thought(
            exit_reason=active.exit_reason,
            threshold=active.in_force.threshold,
            budget=active.in_force.budget,
            confidence=active.confidence,
            **_spent(active),
        )
    return Outcome(
        finish_reason=reason,
        prompt_tokens=active.own_prompt,
        completion_tokens=active.tokens,
        put_in=_put_in(active),
        put_before=active.put_before,
        thought=thought,
        queue_s=started_s - active.submitted_s,
        total_s=now - active.submitted_s,
        ttft_s=None if active.first_token_s is None else active.first_token_s - active.submitted_s,
        averted=active.averted,
        expired=expired,
        retry_after_s=retry_after_s,
        error=error,
        choice=active.choice,
        going_on=len(active.together),
        reproducible=reproducible,
        stopped_by=active.reply.stopped_by,
        prompt_scores=tuple(active.prompt_scores),
    )


def left(active: ActiveRequest, now: float) -> Outcome:
    """Returns what has become of a reply, whose client leaves it now: the thought so far, and what it cost."""
    so_far = outcome(active, FinishReason.ERROR, now, error="left")
    prompt = 0 if active.started_s is None else active.own_prompt
    return replace(so_far, thought=replace(so_far.thought, **_spent(active)), prompt_tokens=prompt)


def decoded(active: ActiveRequest) -> int:
    """Returns the tokens that the model has decoded for a reply, without those that were withdrawn."""
    return active.tokens - _put_in(active)


def _put_in(active: ActiveRequest) -> int:
    """Returns how many of a reply's tokens are the server's words: those that have come behind its thought."""
    return min(active.put_in, max(0, active.tokens - (active.thought_end or 0)))


def _spent(active: ActiveRequest) -> dict[str, Any]:
    """Returns what a Thought tells of the thought's tokens and probes so far."""
    return {
        "ids": tuple(active.thought[: active.thought_end]),
        "withdrawn_tokens": active.withdrawn,
        "probes": active.probes,
        "probe_rows": active.probe_rows,
        "tried_at": active.tried_at,
    }
