"""Thoughts in the open: the chain of thought is content, probed and cut like any other, and the answer follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.policy import FixedPolicy, Limits
from controller.serving.request import Close, ExitReason
from controller.serving.signals.base import Asks
from controller.serving.signals.exit_rule import SignalError
from engine.base import FinishReason, Probed
from models.formats.form import ClosingTexts
from models.thinking import ProbeFormat, ThinkingFormat, TransitionFormat
from models.tokenizer import ChatTokenizer
from tests.support.parrot_bench import cut, parrot, spelled
from tests.support.serving_bench import Heard

OPEN = ThinkingFormat(
    open="",
    opening="",
    close=ClosingTexts(text=("answer is", "\\boxed{")),
    landing="~ so answer is {",
    answer_reserve=8,
    probe=ProbeFormat(suffix="\n\nanswer is {", stops=("}",), max_answer_tokens=3),
    transitions=TransitionFormat(words=("Wait",), min_gap=1),
)
PLAIN = replace(OPEN, unasked=False)


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A signal that is met by the first probe, which asks for the next token."""

    level: float
    reason: ClassVar[str] = "at once"
    asks: ClassVar[Asks] = Asks.NEXT_TOKEN
    read: ClassVar[frozenset[str]] = frozenset()
    give_up_below: ClassVar[float] = 0.0

    def closes(self, probes: Sequence[Probed]) -> bool:
        return True


def ask(tokenizer: ChatTokenizer, *pieces: str, limits: Limits | None = None, **options: object) -> Heard:
    said = spelled(tokenizer, *pieces)
    return parrot(tokenizer, said, OPEN, limits).ask(**{"max_tokens": len(said) + 100, **options})


@settings(max_examples=15, deadline=None)
@given(data=st.data(), end=st.sampled_from(["so the answer is 7.", "so \\boxed{7}.", "so it is 7."]))
def test_all_that_the_model_says_is_content(tokenizer: ChatTokenizer, data: st.DataObject, end: str) -> None:
    text = f"3 + 4.\n\nWait, the answer 7 猫 {end}"
    heard = ask(tokenizer, *data.draw(cut(text)))
    assert (heard.reasoning, heard.content) == ("", text)
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.close is Close.MODEL
    assert heard.outcome.put_in == heard.outcome.averted == 0


def test_the_thought_is_what_stands_before_the_words_that_end_it(tokenizer: ChatTokenizer) -> None:
    heard = ask(tokenizer, "ab so ", "answer is", " 7")
    assert heard.outcome.thought.ids == spelled(tokenizer, "ab so ")
    assert heard.outcome.completion_tokens == len(spelled(tokenizer, "ab so ", "answer is", " 7")) + 1
    whole = ask(tokenizer, "ab so 7")
    assert whole.outcome.thought.ids == spelled(tokenizer, "ab so 7")
    assert whole.outcome.thought.exit_reason is ExitReason.NATURAL


def test_a_short_reply_may_end_at_once(tokenizer: ChatTokenizer) -> None:
    assert ask(tokenizer, "7").content == "7"


def test_a_spent_budget_has_the_answer_follow_in_the_same_content(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab" * 20)
    heard = parrot(tokenizer, said, OPEN, Limits(budget=4)).ask(max_tokens=60)
    assert heard.content.startswith(f"{tokenizer.decode(said[:4])}{OPEN.landing}")
    assert heard.reasoning == ""
    assert heard.outcome.thought.ids == said[:4]
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.outcome.put_in == len(spelled(tokenizer, OPEN.landing))


def test_a_budget_is_kept_to_the_token_whatever_the_text_may_become(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab", *"answer", "ab" * 20)
    for budget in range(1, 9):
        heard = parrot(tokenizer, said, OPEN, Limits(budget=budget)).ask(max_tokens=80)
        assert heard.outcome.thought.ids == said[:budget]
        assert heard.content.startswith(tokenizer.decode(said[:budget]) + OPEN.landing)


def test_an_adopted_probe_is_content_behind_the_thought(tokenizer: ChatTokenizer) -> None:
    heard = ask(tokenizer, "7", "}", *".\n\n", *"ab" * 10, limits=Limits(threshold=0.4))
    assert heard.content.startswith("7}.\n\n\n\nanswer is {7}")
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.outcome.thought.probes == 1


def test_no_thought_at_all_is_the_landing_and_the_answer(tokenizer: ChatTokenizer) -> None:
    heard = ask(tokenizer, "7 }", budget=0)
    assert heard.content == f"{OPEN.landing}7 }}"
    assert heard.outcome.thought.tokens == 0


@pytest.mark.parametrize(
    ("stop", "content"),
    [("b", "a"), ("cd", "ab "), ("is 7", "ab cd answer "), ("swer", "ab cd an"), ("7", "ab cd answer is ")],
)
def test_a_stop_string_counts_in_the_whole_content(tokenizer: ChatTokenizer, stop: str, content: str) -> None:
    heard = ask(tokenizer, "ab cd answer is 7 and on and on", stop=(stop,))
    assert heard.content == content
    assert heard.outcome.finish_reason is FinishReason.STOP


def test_no_stop_string_counts_in_words_of_the_server_s(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab" * 20)
    heard = parrot(tokenizer, said, OPEN, Limits(budget=4)).ask(max_tokens=60, stop=("answer",))
    assert OPEN.landing in heard.content


def test_a_plain_reply_is_never_probed_nor_cut(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab.\n\n" * 6, "answer is 7")
    bench = parrot(tokenizer, said, PLAIN, Limits(threshold=0.1, budget=2))
    heard = bench.ask(max_tokens=200, thinking=False)
    assert heard.content == tokenizer.decode(said)
    assert heard.outcome.thought.exit_reason is None
    assert (heard.outcome.thought.probes, heard.outcome.put_in, heard.outcome.averted) == (0, 0, 0)


def test_a_signal_that_asks_for_the_next_token_has_the_landing_follow_its_thought(tokenizer: ChatTokenizer) -> None:
    said = spelled(tokenizer, "ab.\n\n" * 6)
    limits = Limits(exits={"tests.controller.serving.test_open:AtOnce": 0.4})
    heard = parrot(tokenizer, said, OPEN, limits).ask(max_tokens=120, stop=("answer is {",))
    assert heard.content.startswith(f"ab.\n\n{OPEN.landing}")
    assert heard.outcome.thought.ids == spelled(tokenizer, "ab.\n\n")
    assert heard.outcome.put_in == len(spelled(tokenizer, OPEN.landing))


def test_a_margin_has_nothing_to_compare_with_in_the_open(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(SignalError, match="reads the closing marker, but thoughts in the open have none"):
        parrot(tokenizer, (1,), OPEN, Limits(margin=0.1))


def test_a_policy_without_probes_is_free_to_serve_it(tokenizer: ChatTokenizer) -> None:
    assert parrot(tokenizer, spelled(tokenizer, "ab"), OPEN, FixedPolicy().fixed).ask().content == "ab"
