"""A thought may end in a tool call: the call is the answer, and its markers come through."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.policy import Limits
from controller.serving.request import Close, ExitReason
from engine.base import FinishReason
from models.formats.form import ProbeFormat, TransitionFormat
from models.thinking import ThinkingFormat
from models.tokenizer import ChatTokenizer
from models.tools.form import CallFormat, marks_of
from models.tools.offer import CallMarks
from tests.support.parrot_bench import cut, parrot, spelled
from tests.support.serving_bench import FORMAT, Heard

CALL = '<tool_call>{"name": "f"}</tool_call>'
MARKS = marks_of(CallFormat.HERMES)
CHANNELS = ThinkingFormat(  # as gpt-oss's
    open="<|channel|>analysis<|message|>",
    opening="<|channel|>analysis<|message|>",
    close="<|end|><|start|>assistant<|channel|>final<|message|>",
    closing="<|end|><|start|>assistant<|channel|>final<|message|>",
    landing="~ enough.<|end|><|start|>assistant<|channel|>final<|message|>",
    seams=("<|end|><|start|>assistant<|channel|>analysis<|message|>",),
    answer_reserve=8,
    probe=ProbeFormat(
        suffix="<|end|><|start|>assistant<|channel|>final<|message|>{", stops=("}",), max_answer_tokens=3
    ),
    transitions=TransitionFormat(words=("Wait",), min_gap=1),
)
HARMONY = '<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}'


def ask(
    tokenizer: ChatTokenizer, *pieces: str, form: ThinkingFormat = FORMAT, limits: Limits | None = None,
    calls: CallMarks | None = MARKS,
) -> Heard:  # fmt: skip
    said = spelled(tokenizer, *pieces)
    return parrot(tokenizer, said, form, limits).ask(max_tokens=len(said) + 100, calls=calls)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_thought_ends_where_a_call_begins(tokenizer: ChatTokenizer, data: st.DataObject) -> None:
    heard = ask(tokenizer, *data.draw(cut(f"so 7 < 9.\n{CALL}\n{CALL}")))
    assert (heard.reasoning, heard.content) == ("so 7 < 9.", f"{CALL}\n{CALL}")
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.thought.exit_reason is ExitReason.NATURAL
    assert heard.outcome.close is Close.MODEL


def test_a_thought_may_speak_of_calls(tokenizer: ChatTokenizer) -> None:
    closing = FORMAT.closers[0]
    spoken = ask(tokenizer, "so <tool_call> or [TOOL", closing, "X")
    assert (spoken.reasoning, spoken.content) == ("so <tool_call> or [TOOL", "X")
    heard = ask(tokenizer, f"so {CALL}", closing, "X", calls=None)
    assert (heard.reasoning, heard.content) == (f"so {CALL}", "X")
    also = ask(tokenizer, "so 7", closing, f"X{CALL}")
    assert (also.reasoning, also.content) == ("so 7", f"X{CALL}")


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_call_on_a_channel_ends_a_thought_and_keeps_markers(tokenizer: ChatTokenizer, data: st.DataObject) -> None:
    seam = CHANNELS.seams[0]
    heard = ask(
        tokenizer, *data.draw(cut(f"so 7{seam}more{HARMONY}")), form=CHANNELS, calls=marks_of(CallFormat.HARMONY)
    )
    assert (heard.reasoning, heard.content) == ("so 7\n\nmore", HARMONY)


def test_a_spent_budget_closes_the_thought_of_a_turn_with_tools(tokenizer: ChatTokenizer) -> None:
    heard = ask(tokenizer, "abababababababab", limits=Limits(budget=4))
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.content


def test_probes_leave_a_call_in_the_thought_its_place(tokenizer: ChatTokenizer) -> None:
    form = replace(FORMAT, transitions=TransitionFormat(words=("Wait",), min_gap=1))
    heard = ask(tokenizer, f"so 7\n\nWait, 9\n\n{CALL}", form=form, limits=Limits(threshold=0.99))
    assert heard.content == CALL
    assert heard.reasoning == "so 7\n\nWait, 9"
