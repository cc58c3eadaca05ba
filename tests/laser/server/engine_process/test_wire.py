"""What crosses between processes arrives as it was sent, however the bytes come."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import Limits
from controller.serving.admission import QueueState, Turn
from controller.serving.choices.scores import TokenScore
from controller.serving.fair_queue import Claim
from controller.serving.reply import Channel
from controller.serving.request import Checkpoint, ExitReason, Outcome, ReasoningRequest, Thought
from controller.serving.status import EndedRequest, LoopStatus, RequestProgress, RunningRequest, Stage
from engine.base import EngineLoad, FinishReason, Sampling
from laser.server.engine_process import messages
from laser.server.engine_process.messages import (
    Accepted,
    Began,
    Broken,
    Cancel,
    Deployed,
    Ended,
    EndThought,
    EngineMessage,
    Failed,
    Gone,
    Handled,
    Inquire,
    Loading,
    NotAccepted,
    Ping,
    PolicyReport,
    Pong,
    Progressed,
    Refusal,
    Said,
    Seen,
    Shown,
    Stop,
    Submit,
    ThoughtEnded,
    TrialAnswered,
    TurnedAway,
    Unloaded,
)
from laser.server.engine_process.wire import COMMANDS, EVENTS, HEAD, Unpacker, packed
from models.grammar.grammar import Grammar
from models.kinds.kind import AnswerForm, AnswerKind
from models.profile.tables import OperatingPoint
from models.tools.offer import CallMarks
from tests.support.model_profile import PROFILE
from tests.support.statuses import GAINED

LOAD = EngineLoad(running=1, waiting=2, probing=1, cells_reserved=30, cells_total=64)
OUTCOME = Outcome(
    finish_reason=FinishReason.STOP,
    prompt_tokens=3,
    completion_tokens=9,
    thought=Thought(
        exit_reason=ExitReason.CONFIDENCE, threshold=0.8, budget=None, confidence=0.9, ids=(1, 2, 3),
        withdrawn_tokens=1, probes=2, probe_rows=7,
    ),
    queue_s=0.25,
    total_s=1.5,
    ttft_s=0.5,
    retry_after_s=None,
)  # fmt: skip
REQUEST = ReasoningRequest(
    prompt=tuple(range(300)),
    max_tokens=64,
    sampling=Sampling(temperature=0.5, top_p=0.9, top_k=3, seed=2**63 - 1, logit_bias=((7, -100.0), (9, 0.5))),
    stop=("\n", "ü"),
    landing=(5, 6),
    difficulty="hard",
    deadline_s=3.5,
    claim=Claim(tenant="alice", weight=2.0, priority=-1, length=12.5),
    name="chatcmpl-1",
    choices=3,
    log_probs=2,
    min_tokens=4,
    stop_ids=frozenset({3, 5}),
    fixed=Limits(threshold=0.9, budget=100),
    answer=AnswerKind.CODE,
    form=AnswerForm.CHOICE,
    calls=CallMarks(starts=("<tool_call>",), kept=("<|end|>",)),
    grammar=Grammar.json_schema({"type": "object"}, asked_by="guided_json", compact=True),
)
CHECKPOINT = Checkpoint(
    thought_tokens=12, beyond=2, answer="42", confidence=0.9, joint=0.8, log_probs=(-0.1, -0.2), gave_up=False, rows=9
)
STATUS = LoopStatus(
    at_s=12.5, load=LOAD, drain_s=0.5, turned_away=1, arrived=9, finished=7, replies=8,
    running=(
        RunningRequest(
            number=8, difficulty="easy", stage=Stage.THINKING, age_s=1.0, tokens=4, thought_tokens=4, probes=1,
            confidence=None, threshold=0.8, budget=100, probing=True,
        ),
    ),
    ended=(EndedRequest.of(7, 11.0, None, OUTCOME),),
)  # fmt: skip
REPORT = PolicyReport(controller={"policy": "fixed", "limits": {"any": {"threshold": 0.9}}}, gained=GAINED)
COMMAND_EXAMPLES: list[EngineMessage] = [
    Submit(number=1, request=REQUEST, probes=True, progress=True, streamed=False),
    Cancel(number=1), EndThought(call=2, number=1),
    TurnedAway(), Inquire(call=3, whole=True), Ping(), Stop(),
]  # fmt: skip
EVENT_EXAMPLES: list[EngineMessage] = [
    Accepted(number=1), NotAccepted(number=2, why=Refusal.OVERLOADED, message="full", retry_after_s=2.5),
    Began(number=1), Said(number=1, channel=Channel.REASONING, text=" wait…\n\n"),
    Said(
        number=1, channel=Channel.CONTENT, text="4", choice=2, scores=(TokenScore(7, -0.5, ((7, -0.5), (9, -2.0))),)
    ),
    TrialAnswered(number=1, checkpoint=CHECKPOINT), Ended(number=1, outcome=OUTCOME),
    Progressed(number=1, progress=RequestProgress(stage=Stage.THINKING, tokens=4, thought_tokens=4, budget=None)),
    Failed(number=3, message="it is lost"), Gone(number=4, outcome=None), Gone(number=5, outcome=OUTCOME),
    ThoughtEnded(call=2, ended=True), Seen(call=3, status=STATUS, report=REPORT),
    Seen(call=4, failure="it hangs"), Broken(message="the arena is gone"), Pong(step_s=0.5), Pong(step_s=None),
    Handled(number=6, over=False),
    Shown(queue=QueueState(running=2, turns=(("chatcmpl-1", Turn(position=1, eta_s=0.5)),), drain_s=1.0), load=LOAD),
    Loading(stage="weights", share=0.5), Unloaded(lines=("one fault", "another")),
    Deployed(
        model_id="m", vocabulary=320, room=4000, engine="torch", knows="sums", difficulty=PROFILE.difficulty,
        tells_length=False, cells=64, report=REPORT, certified=(OperatingPoint(threshold=0.9, budget=None),),
    ),
]  # fmt: skip


def test_there_is_an_example_of_every_message() -> None:
    kinds = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, EngineMessage) and kind is not EngineMessage
    }
    assert {*map(type, COMMAND_EXAMPLES), *map(type, EVENT_EXAMPLES), PolicyReport} == kinds


@given(st.lists(st.integers(min_value=1, max_value=4000), max_size=40))
def test_frames_come_out_as_they_went_in_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    data = bytes(packed(EVENT_EXAMPLES[:5]) + packed([]) + packed(EVENT_EXAMPLES[5:]))
    unpacker, found, at = Unpacker(EVENTS), [], 0
    for size in [*cuts, len(data)]:
        found += list(unpacker.feed(data[at : at + size]))
        at += size
    assert found == [EVENT_EXAMPLES[:5], [], EVENT_EXAMPLES[5:]]


def test_commands_come_out_as_they_went_in() -> None:
    assert list(Unpacker(COMMANDS).feed(bytes(packed(COMMAND_EXAMPLES)))) == [COMMAND_EXAMPLES]


def test_what_is_no_command_is_told() -> None:
    with pytest.raises(msgspec.ValidationError, match="Said"):
        list(Unpacker(COMMANDS).feed(bytes(packed([EVENT_EXAMPLES[3]]))))


def test_a_token_takes_few_bytes() -> None:
    assert len(packed([Said(number=1000, channel=Channel.CONTENT, text=" the")])) - HEAD.size <= 26
