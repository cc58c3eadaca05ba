"""What an evaluation means is told first, and a model that is asked wrongly is not told as a bad one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.evaluation.breakdown import breakdown
from experiments.evaluation.evaluation import EvaluationRecord
from experiments.evaluation.report import evaluation
from experiments.evaluation.summary import summary
from experiments.evaluation.sweeps import served
from experiments.evaluation.verdict import FORMAT, LIMIT, causes, verdict
from tests.support.evaluations import asked, recorded

SURE = recorded(asked(0.95, right=True), split="easy", benchmark="sums")
MISLED = recorded(asked(0.97, right=False), split="hard", benchmark="words")
UNSURE = recorded(asked(0.1, right=False), split="hard", benchmark="words")
WRONG = recorded(right=False)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cut(one: EvaluationRecord = WRONG) -> EvaluationRecord:
    return replace(one, exit_reason="budget", thought_tokens=512)


def unended(one: EvaluationRecord = WRONG) -> EvaluationRecord:
    return replace(one, ended=False)


def test_the_summary_begins_with_what_closing_a_thought_saves_and_costs() -> None:
    records = [SURE] * 60 + [MISLED] * 20 + [UNSURE] * 40
    begins = verdict(evaluation(records, [], rng()))
    assert begins[0] == (
        "With full thought 100.0 % (95 %: 96.9 … 100.0) of 120 answers are right; a thought has 90 tokens in the mean."
    )
    # 80 of 120 thoughts end after 10 + 5 + 2 tokens and 3 decoded beside the probe, 40 cost a probe of 5 more
    saved = 1 - (80 * 20 + 40 * 105) / 12_000
    told = (
        f"Closing a thought at confidence 0.90 saves {100 * saved:.1f} % of the tokens, probes counted, and costs 16.7 "
    )
    assert begins[1].startswith(told)
    assert len(begins) == 2


def test_what_was_really_served_is_told_before_what_was_computed() -> None:
    records = [SURE] * 100
    one = served(records, [MISLED] * 50 + [SURE] * 50, rng(), threshold=0.8)
    told = verdict(evaluation(records, [one], rng()))[1]
    assert told.startswith("Really served, closing a thought at confidence 0.80 saves nothing (with its probes 5.0 %")


def test_few_questions_are_called_few() -> None:
    assert verdict(evaluation([SURE], [], rng()))[-1].startswith("That is few: ask more than 1 question (-n)")


def test_thoughts_without_a_probe_cannot_be_closed() -> None:
    assert "No thought was probed: there is nothing to close early." in verdict(evaluation([recorded()], [], rng()))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (
            [cut()] * 4,
            f"Nothing is right. No thought ended by itself (the longest thought has 512 tokens). Likely {LIMIT}",
        ),
        ([cut(recorded())] * 4, "No thought ended by itself"),
        ([unended()] * 4, f"Nothing is right. No reply ended: behind its thought the model wrote on. Likely {FORMAT}"),
        (
            [replace(WRONG, thought_tokens=1)] * 4,
            "Nothing is right. Thoughts are empty (the longest thought has 1 token)",
        ),
        ([WRONG] * 4, "Nothing is right. Thoughts and replies end. Likely the answers do not stand where they are"),
        ([SURE] * 3 + [cut()], f"25 % of the thoughts were cut by the token limit: {LIMIT}, or {FORMAT}."),
        ([SURE] * 3 + [unended()], f"25 % of the replies broke off at the token limit: {LIMIT}, or {FORMAT}."),
    ],
)
def test_what_went_wrong_is_told_with_its_likely_cause(records: list[EvaluationRecord], told: str) -> None:
    (said,) = causes(breakdown(records).all)
    assert said.startswith(told)
    assert said in verdict(evaluation(records, [], rng()))


def test_a_sound_model_has_no_cause_and_a_hopeless_one_no_praise_of_early_exits() -> None:
    assert not list(causes(breakdown([SURE] * 20 + [cut()]).all))
    hopeless = [recorded(asked(0.95, right=False), right=False)] * 4
    assert "Closing" not in summary(evaluation(hopeless, [], rng())).split("\n\n")[0]


def test_benchmarks_stand_apart_where_there_are_several() -> None:
    told = summary(evaluation([SURE, MISLED, UNSURE], [], rng()))
    (apart,) = [part for part in told.split("\n\n") if part.startswith("The same at 0.90, each benchmark by itself")]
    assert [line.split()[:2] for line in apart.splitlines()[2:4]] == [["sums", "100.0%"], ["words", "50.0%"]]
    assert "by itself" not in summary(evaluation([SURE], [], rng()))
