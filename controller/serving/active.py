"""The state of a request that waits or is being served."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.policy import Limits
from controller.serving.fair_queue import Claim
from controller.serving.reply import Channel, Reply
from controller.serving.request import (
    NO_THOUGHT,
    ExitReason,
    Outcome,
    ProbeObserver,
    ReasoningRequest,
    RequestId,
    Sink,
    Thought,
)
from controller.serving.status import RunningRequest, Stage
from engine.base import FinishReason, ProbeId, SequenceId


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveRequest:
    """A request between submission and outcome.

    Thought tokens are released to the reply once no probe can withdraw them any more. Times are on the loop's clock.
    """

    id: RequestId
    request: ReasoningRequest
    sink: Sink
    observe: ProbeObserver | None  # None: trial answers are not reported
    reply: Reply
    submitted_s: float
    landing: tuple[int, ...]  # tokens forced to close the thought when the loop cuts it
    budget_cap: int  # thinking tokens, at most, that max_tokens leaves
    answer_room: int  # tokens of max_tokens reserved for the answer
    prompt_tokens: int
    cells: int  # KV cache cells (tokens) that the request may need, those of a probe included
    claim: Claim  # for the fair queue, with the tokens charged in advance
    sequence: SequenceId | None = None  # None: the engine does not have the request
    begun: bool = False  # the request has left the queue for the engine
    begun_step: int = 0  # the loop's step count when the request was handed over and, later, when it started
    exit_reason: ExitReason | None = None  # why the thought is over or being closed; None: it goes on
    in_force: Limits = field(default_factory=Limits)
    policy_limits: Limits | None = None  # the policy's limits that `in_force` was derived from; None: not derived yet
    ending: ExitReason | None = None  # reason to close the thought as soon as possible; None: no such request
    started_s: float | None = None  # when its prefill began; None: not yet
    first_token_s: float | None = None  # None: no token yet
    tokens: int = 0  # of the reply
    answer_tokens: int = 0
    recited: int = 0  # leading answer tokens that belong to the forced closing, in which no stop string counts
    thought: list[int] = field(default_factory=list)
    thought_end: int | None = None  # length of the thought before its forced closing; None: no closing was forced
    released: int = 0  # thought tokens passed to the reply
    probe: ProbeId | None = None  # None: no probe is running
    fork_at: int = 0  # thought tokens kept if the running probe is adopted
    last_probe_at: int = 0  # thought tokens before the place of the last probe
    confidence: float | None = None  # of the last trial answer; None: none yet
    answers: list[tuple[int, ...]] = field(default_factory=list)  # trial answers of its probes
    probes: int = 0
    probe_rows: int = 0
    withdrawn: int = 0  # tokens decoded beside a probe that was then adopted
    armed: bool = False  # stop tokens may be sampled

    @property
    def thinking(self) -> bool:
        """Whether the next token belongs to the thought."""
        return self.reply.channel is Channel.REASONING

    @property
    def stage(self) -> Stage:
        """The request's present stage."""
        if self.started_s is None:
            return Stage.WAITING
        return Stage.THINKING if self.thinking else Stage.ANSWERING

    @property
    def deadline_s(self) -> float | None:
        """When the request must have ended, on the loop's clock; None: it has no deadline."""
        return None if self.request.deadline_s is None else self.submitted_s + self.request.deadline_s

    @property
    def rows(self) -> int:
        """Token rows decoded for the request."""
        return self.tokens + self.withdrawn + self.probe_rows

    @property
    def cost(self) -> int:
        """Tokens computed for the request, its prompt included; 0 before it has started."""
        return 0 if self.started_s is None else self.prompt_tokens + self.rows

    def running(self, now: float) -> RunningRequest:
        """Returns the request's entry in the loop's status."""
        return RunningRequest(
            number=self.id,
            difficulty=self.request.difficulty,
            stage=self.stage,
            age_s=now - self.submitted_s,
            tokens=self.tokens,
            thought_tokens=len(self.thought),
            probes=self.probes,
            confidence=self.confidence,
            threshold=self.in_force.threshold,
            budget=self.in_force.budget,
            probing=self.in_force.probing,
        )

    def outcome(
        self,
        reason: FinishReason,
        now: float,
        *,
        error: str | None,
        expired: bool,
        retry_after_s: float | None,
    ) -> Outcome:
        """Returns the outcome of the request, which ends now. For the parameters see Outcome."""
        thought = NO_THOUGHT
        if self.request.thinking and self.exit_reason is not None:
            thought = Thought(
                exit_reason=self.exit_reason,
                threshold=self.in_force.threshold,
                budget=self.in_force.budget,
                confidence=self.confidence,
                ids=tuple(self.thought[: self.thought_end]),
                withdrawn_tokens=self.withdrawn,
                probes=self.probes,
                probe_rows=self.probe_rows,
            )
        return Outcome(
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.tokens,
            thought=thought,
            queue_s=(self.started_s if self.started_s is not None else now) - self.submitted_s,
            total_s=now - self.submitted_s,
            ttft_s=None if self.first_token_s is None else self.first_token_s - self.submitted_s,
            expired=expired,
            retry_after_s=retry_after_s,
            error=error,
        )
