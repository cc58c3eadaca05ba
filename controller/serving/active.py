"""A request that is being served: what has become of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.policy import Limits
from controller.serving.fair_queue import Claim
from controller.serving.reply import Channel, Reply
from controller.serving.request import ExitReason, Outcome, ProbeObserver, ReasoningRequest, RequestId, Sink, Thought
from controller.serving.status import RunningRequest, Stage
from engine.base import FinishReason, ProbeId, SequenceId


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveRequest:
    """A request between submission and outcome.

    Thought tokens are released to the reply once no probe can withdraw them any more.
    """

    id: RequestId
    request: ReasoningRequest
    sink: Sink
    observe: ProbeObserver | None
    reply: Reply
    submitted_s: float
    landing: tuple[int, ...]  # what closes the thought where it is cut
    budget_cap: int  # what max_tokens leaves for thinking
    answer_room: int  # what is put aside for the answer, tokens
    prompt_tokens: int
    cells: int  # tokens of KV cache that it may need, those of a probe included
    claim: Claim  # on a turn, with what is charged for one
    sequence: SequenceId | None = None  # None: the engine does not have it
    begun: bool = False  # its turn has come: it was handed to the engine
    begun_step: int = 0  # of the engine: when it was handed over and, later, when it started
    exit_reason: ExitReason | None = None  # set: the thought is over, or its close is on the way
    in_force: Limits = field(default_factory=Limits)
    policy_limits: Limits | None = None  # what the limits in force were made of
    ending: ExitReason | None = None  # set: the thought is to be closed as soon as may be
    started_s: float | None = None
    first_token_s: float | None = None
    tokens: int = 0  # of the reply
    answer_tokens: int = 0
    recited: int = 0  # of the first of them: words that close a thought, where no stop string counts
    thought: list[int] = field(default_factory=list)
    thought_end: int | None = None  # where what was forced to close it begins; None: nothing was
    released: int = 0
    probe: ProbeId | None = None
    fork_at: int = 0  # thought tokens kept if the running probe is adopted
    last_probe_at: int = 0  # thought tokens that the last probe asked about
    confidence: float | None = None
    answers: list[tuple[int, ...]] = field(default_factory=list)  # of its probes
    probes: int = 0
    probe_rows: int = 0
    withdrawn: int = 0
    armed: bool = False

    @property
    def thinking(self) -> bool:
        """Whether its next token belongs to the thought."""
        return self.reply.channel is Channel.REASONING

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self.started_s is None:
            return Stage.WAITING
        return Stage.THINKING if self.thinking else Stage.ANSWERING

    @property
    def deadline_s(self) -> float | None:
        """By when it is to have ended, on the loop's clock."""
        return None if self.request.deadline_s is None else self.submitted_s + self.request.deadline_s

    @property
    def rows(self) -> int:
        """Token rows decoded for it."""
        return self.tokens + self.withdrawn + self.probe_rows

    @property
    def cost(self) -> int:
        """Tokens computed for it, its prompt's included."""
        return 0 if self.started_s is None else self.prompt_tokens + self.rows

    def running(self, now: float) -> RunningRequest:
        """What is shown of it."""
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
        """How it ended."""
        thought = None
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
