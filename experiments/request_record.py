"""What one request of an experiment came to, served or simulated alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request, from its arrival to its end; times are s on the experiment's clock."""

    number: int  # in order of arrival
    question: int  # its place in the experiment's list of questions
    benchmark: str
    split: str | None
    difficulty: str | None  # its class, as told from the prompt
    at_s: float  # when it arrived
    queue_s: float  # until its prefill began
    first_answer_s: float | None  # from arrival to the first token of the answer; None: there was none
    latency_s: float  # from arrival to end
    thought_tokens: int
    completion_tokens: int  # thought, markers, answer
    rows: int  # token rows decoded for it in all: reply, withdrawn tokens, probes
    probes: int
    probe_rows: int
    exit_reason: str | None  # why its thought ended, a controller.request.ExitReason; None: it never did
    threshold: float | None  # in force when it ended
    budget: int | None  # in force when it ended, tokens
    right: bool | None  # None: it failed, so there is nothing to grade
    error: str | None
