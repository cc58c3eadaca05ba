"""Markers of several tokens: however a model spells them, nobody sees a part of one, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.policy import FixedPolicy, Limits
from controller.serving.reply import Channel
from controller.serving.request import Close, ExitReason
from engine.base import FinishReason
from models.thinking import Keep, ProbeFormat, ThinkingFormat, TransitionFormat
from models.tokenizer import ChatTokenizer
from tests.support.parrot_bench import cut, parrot, spelled
from tests.support.serving_bench import ENDLESS, FORMAT, Bench, Heard
from tests.support.tiny_models import Oracle

TAGS = ThinkingFormat(
    open="<|thought|>",
    opening="<|thought|>\n",
    close="<|/thought|>",
    closing="\n<|/thought|>\n",
    landing="~ enough.<|/thought|>\n<|answer|>",
    seams=("<|more|>",),
    unshown=("<|answer|>", "<|/answer|>"),
    answer_reserve=8,
    probe=ProbeFormat(suffix="<|/thought|>{", stops=("}",), max_answer_tokens=3),
    transitions=TransitionFormat(words=("Wait",), min_gap=1),
)
SENTENCES = replace(
    TAGS,
    open="Here is my thought process:",
    opening="Here is my thought process:",
    close="Here is my response:",
    also=("Here's my response:",),
    closing=None,
    landing="~ enough.\n\nHere is my response:\n\n",
    seams=(),
    unshown=(),
    probe=ProbeFormat(suffix="\nHere is my response:{", stops=("}",), max_answer_tokens=3),
)


def ask(tokenizer: ChatTokenizer, *pieces: str, form: ThinkingFormat = TAGS, **options: object) -> Heard:
    said = spelled(tokenizer, *pieces)
    return parrot(tokenizer, said, form).ask(**{"max_tokens": len(said) + 100, **options})


THOUGHT = "so 7 < 9 | a.<|\n\nWait, <|/thought no é 猫. 7<"
ANSWER = "X <|/ y|> Here is my answer: 7"


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_reply_is_the_same_however_its_text_is_cut_into_tokens(tokenizer: ChatTokenizer, data: st.DataObject) -> None:
    text = f"{THOUGHT}<|more|> on\n<|/thought|>\n\n<|answer|>\n{ANSWER}<|/answer|>"
    heard = ask(tokenizer, *data.draw(cut(text)))
    assert heard.reasoning == f"{THOUGHT}\n\n on"
    assert heard.content == f"{ANSWER}"
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.close is Close.MODEL
    assert heard.deltas == sorted(heard.deltas, key=lambda delta: delta.channel is Channel.CONTENT)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), closer=st.sampled_from(SENTENCES.closers))
def test_a_sentence_may_close_a_thought(tokenizer: ChatTokenizer, data: st.DataObject, closer: str) -> None:
    heard = ask(tokenizer, *data.draw(cut(f"Here is 7. Here is my re.\n\n{closer}\n\n{ANSWER}")), form=SENTENCES)
    assert (heard.reasoning, heard.content) == ("Here is 7. Here is my re.", ANSWER)


def test_tokens_add_up_whatever_spells_the_marker(tokenizer: ChatTokenizer) -> None:
    thought, answer = spelled(tokenizer, "so 7"), spelled(tokenizer, "X7")
    for marker in (("<|/thought|>",), ("<", "|/th", "ou", "ght|", ">")):
        close = spelled(tokenizer, *marker)
        heard = ask(tokenizer, "so 7", *marker, "X7")
        assert heard.outcome.thought.ids == thought
        assert heard.outcome.completion_tokens == len(thought) + len(close) + len(answer) + 1


def test_text_that_is_no_marker_is_shown_as_soon_as_that_is_known(tokenizer: ChatTokenizer) -> None:
    begun, marker = spelled(tokenizer, "a"), spelled(tokenizer, "<", "|", "/", "thought", "|")
    bench = parrot(tokenizer, (*begun, *marker, *spelled(tokenizer, "b" * 30, "<|/thought|>X")), TAGS)
    heard = bench.queue(max_tokens=200)[1]
    while not heard.reasoning.startswith("a<"):
        bench.tick()
        assert heard.reasoning in ("", "a") or heard.reasoning.startswith("a<")
    assert len(begun) + len(marker) < bench.now <= len(begun) + len(marker) + 1 + bench.thinking.lookback
    bench.run()
    assert heard.reasoning == "a<|/thought|" + "b" * 30


@pytest.mark.parametrize("form", [TAGS, SENTENCES])
def test_a_spent_budget_closes_a_thought_with_the_whole_landing(tokenizer: ChatTokenizer, form: ThinkingFormat) -> None:
    said = spelled(tokenizer, "abababababababababab")
    bench = parrot(tokenizer, said, form, Limits(budget=4))
    heard = bench.ask(max_tokens=80)
    assert heard.reasoning == tokenizer.decode(said[:4]) + "~ enough."
    assert heard.content
    assert set(heard.content) == set("ab")
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.outcome.thought.tokens == 4
    assert heard.outcome.put_in == len(bench.thinking.landing)


def test_a_budget_that_is_spent_within_a_possible_marker_waits_until_that_is_decided(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "a", "<", "|", "/", "thought", "|", ">", "X7")
    heard = parrot(tokenizer, said, TAGS, Limits(budget=3)).ask(max_tokens=80)
    assert (heard.reasoning, heard.content[:2]) == ("a", "X7")
    assert heard.outcome.thought.exit_reason is ExitReason.NATURAL
    other = spelled(tokenizer, "a", "<", "|", "/", "b", *"cdcdcdcd")
    cut_later = parrot(tokenizer, other, TAGS, Limits(budget=3)).ask(max_tokens=80)
    assert cut_later.reasoning == "a<|/b~ enough."
    assert cut_later.outcome.thought.exit_reason is ExitReason.BUDGET


def test_text_that_always_looks_like_a_marker_is_cut_all_the_same(tokenizer: ChatTokenizer) -> None:
    bench = parrot(tokenizer, spelled(tokenizer, *"<" * 200), TAGS, Limits(budget=3))
    heard = bench.ask(max_tokens=80)
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.outcome.thought.tokens == 3 + len(bench.thinking.close)
    assert heard.reasoning == "<" * heard.outcome.thought.tokens + "~ enough."
    assert heard.content


@pytest.mark.parametrize("form", [TAGS, SENTENCES])
@pytest.mark.parametrize("budget", [0, 4])
def test_a_second_closing_marker_never_reaches_the_content(
    tokenizer: ChatTokenizer, form: ThinkingFormat, budget: int
) -> None:
    closer = form.closers[0]
    said = spelled(tokenizer, "ab", "ab") if budget else ()
    said += spelled(tokenizer, closer[:3], closer[3:], "X7")
    bench = parrot(tokenizer, said, form, Limits(budget=min(budget, 4)))
    heard = bench.ask(max_tokens=60)
    assert closer not in heard.content
    assert closer not in heard.reasoning
    assert "X7" in heard.content


@pytest.mark.parametrize("keep", list(Keep))
def test_an_adopted_probe_closes_a_thought_with_its_suffix(tokenizer: ChatTokenizer, keep: Keep) -> None:
    said = spelled(tokenizer, "7", "}", *".\n\n", *"ab" * 10)
    form = replace(TAGS, keep=keep)
    bench = parrot(tokenizer, said, form, Limits(threshold=0.4))
    heard = bench.ask(max_tokens=120)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.reasoning == "7}."
    assert "thought" not in heard.content
    if keep is Keep.ANSWER:
        assert heard.content.startswith("{7}")
    assert heard.outcome.thought.probes == len(heard.checkpoints) == 1


def test_max_tokens_leaves_an_answer_even_where_a_cut_has_to_wait(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab", "<", "|", "/", "thought", "|", "cd")
    for more in range(1, 12):
        bench = parrot(tokenizer, said, TAGS)
        heard = bench.ask(max_tokens=len(bench.thinking.landing) + more)
        assert heard.content
        assert heard.outcome.thought.exit_reason is ExitReason.BUDGET


def test_a_stop_token_may_be_part_of_the_closing_marker(tokenizer: ChatTokenizer) -> None:
    (end,) = tokenizer.eos_ids
    close = "<|im_end|><|im_start|>X"
    form = replace(TAGS, close=close, landing=f"~{close}", probe=replace(TAGS.probe, suffix=f"{close}{{"), closing=None)
    said = spelled(tokenizer, "ab", "<|im_end|>", "<|im_start|>", "X7")
    heard = parrot(tokenizer, said, form).ask(max_tokens=80)
    assert (heard.reasoning, heard.content) == ("ab", "7")
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.completion_tokens == len((*said, end))


SCRIPT = {**ENDLESS, "[": "/", "/": "T", "T": "]", "]": "X"}  # a b ¶ a b ¶ …
OTHER = replace(FORMAT, close="[/T]", landing="~[/T]", probe=replace(FORMAT.probe, suffix="~[/T]{"))


@pytest.mark.parametrize(
    ("script", "limits", "why", "content"),
    [
        ({**SCRIPT, "b": "["}, Limits(), ExitReason.NATURAL, "XY"),
        (SCRIPT, Limits(budget=4), ExitReason.BUDGET, "XY"),
        (SCRIPT, Limits(threshold=0.85), ExitReason.CONFIDENCE, "{7}"),
    ],
)
def test_an_engine_decodes_what_closes_a_thought(
    chain: Callable[..., Bench], script: dict[str, str], limits: Limits, why: ExitReason, content: str
) -> None:
    bench = chain(script, form=OTHER, policy=FixedPolicy(limits))
    heard = bench.ask()
    assert (heard.content, heard.outcome.thought.exit_reason) == (content, why)
    assert heard.reasoning.startswith("ab")
    assert "T" not in heard.reasoning
    bench.engine.ledger.verify(Oracle(bench.directory))
