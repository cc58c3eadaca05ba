"""The record of one request of an experiment, served or simulated."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.grading.grade import GradedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request, from arrival to end; times are s on the experiment's clock."""

    number: int  # in order of arrival
    question: int  # index in the experiment's list of questions
    benchmark: str  # of the question
    split: str | None  # part of the benchmark; None: the benchmark has no splits
    difficulty: str | None  # class predicted from the prompt; None: unknown
    at_s: float  # arrival time
    queue_s: float  # wait until prefill began
    first_answer_s: float | None  # from arrival to the first token of the answer; None: no answer
    latency_s: float  # from arrival to end
    thought_tokens: int  # length of the thought
    completion_tokens: int  # thought, markers, answer
    rows: int  # all token rows decoded for the request: reply, withdrawn tokens, probes
    probes: int  # number of probes
    probe_rows: int  # token rows that the probes cost
    exit_reason: str | None  # why the thought ended, a controller.serving.request.ExitReason; None: it never ended
    threshold: float | None  # in force when the thought ended; None: there was none
    budget: int | None  # in force when the thought ended, tokens; None: there was none
    right: bool | None  # whether the reply is right; None: the request failed
    error: str | None  # why the request failed; None: it succeeded
    graded_by: GradedBy | None = None  # who decided whether it is right; None: no reply was graded, or a recording told
