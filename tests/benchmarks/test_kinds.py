"""Prompts of our own, the classifier that learns from them, and the count of exits."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np

from benchmarks.kinds.before_calls import AskedSum, SumReply, called, counted, sums
from benchmarks.kinds.grammar import fill, pools, templates
from benchmarks.kinds.held_out import handwritten
from benchmarks.kinds.mixed import decided, mixed
from benchmarks.kinds.train import fold, learn, mistakable, prompts
from controller.serving.request import Checkpoint
from models.chat_model import load_chat_model
from models.kinds.kind import AnswerKind
from models.kinds.reading import KindReader
from models.reasoner import bundled_model
from models.tools.form import FORMS
from models.tools.offer import OfferedTool


def test_a_template_is_filled_and_its_ways_are_taken() -> None:
    rng, slots = np.random.default_rng(0), {"who": ("Ann", "Bob")}
    found = {fill("{who} (is (very |)tall|runs)", slots, rng) for _ in range(200)}
    assert found == {f"{who} {does}" for who in ("Ann", "Bob") for does in ("is very tall", "is tall", "runs")}


def test_every_template_can_be_filled() -> None:
    rng, slots = np.random.default_rng(0), pools()
    for name in (*AnswerKind, "systems"):
        for template in templates(name):
            filled = fill(template, slots, rng)
            assert filled.strip()
            assert "|" not in filled


def test_the_classifier_learns_and_abstains() -> None:
    found = prompts(60, 0)
    seen = [prompt for prompt in found if fold(prompt.template) != 0]
    assert 0.6 < len(seen) / len(found) < 0.95
    weights = replace(learn(seen, 1e-4), sure=0.5)
    told = [(prompt.kind, weights.kind(prompt.said.asked)) for prompt in seen]
    assert sum(kind is read for kind, read in told) > 0.7 * len(told)
    shares = mistakable(weights, [prompt for prompt in found if fold(prompt.template) == 0])
    assert sum(share < 0.5 for share in shares) > 0.7 * len(shares) > 0
    assert weights.kind("zx qv") is None


def test_no_hand_written_prompt_that_wants_more_is_tried() -> None:
    reader = KindReader.shipped()
    others = [
        prompt for seen in (True, False) for prompt in handwritten(seen=seen) if prompt.kind is not AnswerKind.SHORT
    ]
    assert [prompt.said.asked for prompt in others if reader.read(prompt.said).kind is AnswerKind.SHORT] == []


def test_trial_answers_become_replies_of_short_questions_alone() -> None:
    found = decided(mixed(80, 3))
    assert found["bundled questions"].exits == found["bundled questions"].requests == 20
    assert sum(one.wrong for one in found.values()) == 0
    assert sum(one.probed for name, one in found.items() if name != "bundled questions") == 0


def probe(confidence: float, answer: str = "7") -> Checkpoint:
    return Checkpoint(
        thought_tokens=4,
        beyond=0,
        answer=answer,
        confidence=confidence,
        joint=confidence,
        log_probs=(),
        gave_up=False,
        rows=5,
    )


def test_a_threshold_closes_a_thought_at_its_first_sure_probe() -> None:
    asked = AskedSum(question="What is 3 + 4?", tool=OfferedTool(name="calculator"), value="7")
    replies = [
        SumReply(asked, probes=[probe(0.5), probe(0.9, " 8"), probe(0.97)]),
        SumReply(asked, probes=[probe(0.85)]),
        SumReply(asked, probes=[probe(0.2)]),
        SumReply(asked),
    ]
    low, high = (counted(replies, threshold) for threshold in (0.8, 0.95))
    assert (low.thoughts, low.closed, low.right) == (4, 2, 1)  # the first sure one is wrong where a later is right
    assert (low.probes, low.sure, low.sure_right) == (5, 3, 2)
    assert (high.closed, high.right, high.sure, high.sure_right) == (1, 1, 1, 1)


def test_a_call_of_the_tool_is_told_from_an_answer() -> None:
    model, (asked,) = load_chat_model(bundled_model()), sums(1, 0)
    assert model.call_form is not None
    form = FORMS[model.call_form]
    call = json.dumps({"name": asked.tool.name, "arguments": {"expression": "1 + 2"}})
    assert called(model, SumReply(asked, text=f"{form.begin}\n{call}\n{form.end}"))
    assert not called(model, SumReply(asked, text="\\boxed{3}"))


def test_sums_are_drawn_with_their_values() -> None:
    found = list(sums(50, 1))
    assert found == list(sums(50, 1))
    for one in found:
        left, sign, right = re.findall(r"(\d+) ([-+*]) (\d+)", one.question)[0]
        worked_out = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(left), int(right))
        assert one.value == str(worked_out)
    assert {re.findall(r"\d ([-+*])", one.question)[0] for one in found} == set("-+*")
