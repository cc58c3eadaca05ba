"""The margin policy: a thought is closed where it would nearly close itself, and nothing else is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import ExitReason, Thought
from engine.base import MARGIN, Sampling
from models.thinking import Keep
from tests.support.serving_bench import ANSWER, END, ENDLESS, FORMAT, Bench, Heard
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]

WAVERING = {**ENDLESS, ".\n\n": {"a": 0.6, "</think>": 0.3}}  # at a paragraph's end it is log 2 from closing itself
GAP = math.log(2.0)


def policy(margin: float, budget: int | None = None) -> FixedPolicy:
    return FixedPolicy(Limits(margin=margin, budget=budget))


def thought(heard: Heard) -> Thought:
    return heard.outcome.thought


def test_a_thought_within_the_margin_is_closed_where_it_was_probed(chain: Chain) -> None:
    bench = chain(WAVERING, policy=policy(GAP + 1e-4))
    heard = bench.ask()
    assert (heard.reasoning, heard.content) == ("ab.\n\n~", "XY")
    found = thought(heard)
    assert (found.exit_reason, found.tokens, found.probes) == (ExitReason.MARGIN, 3, 1)
    (probed,) = bench.engine.answers()
    assert probed.readings[MARGIN] == pytest.approx(GAP, abs=1e-5)
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_its_rows_are_counted(chain: Chain) -> None:
    heard = chain(WAVERING, policy=policy(GAP + 1e-4)).ask()
    assert heard.outcome.completion_tokens == len("ab¶~") + len(["</think>", "X", "Y", END])
    assert heard.outcome.decoded_tokens == len("ab¶") + len(
        ["X", "Y", END]
    )  # the landing's ~ and </think> are the loop's
    # what was decoded beside the probe, and the token before it, in whose place the reply has the probe's row
    assert (thought(heard).withdrawn_tokens, thought(heard).probe_rows) == (2, 0)


def test_a_thought_outside_the_margin_goes_on_and_each_probe_costs_a_row(chain: Chain) -> None:
    heard = chain(WAVERING, policy=policy(GAP - 1e-4, budget=20)).ask()
    found = thought(heard)
    assert (found.exit_reason, found.tokens, found.withdrawn_tokens) == (ExitReason.BUDGET, 20, 0)
    assert found.probes == found.probe_rows == 6


def test_a_margin_s_probes_give_no_answer_and_no_confidence(chain: Chain) -> None:
    heard = chain(WAVERING, policy=policy(0.1)).ask()
    assert thought(heard).probes > 1
    assert (heard.checkpoints, thought(heard).confidence) == ([], None)


def test_a_cue_word_is_withdrawn_with_what_followed_it(chain: Chain) -> None:
    script = {"\n": "a", "a": "b", "b": {" Wait": 0.6, "</think>": 0.3}, " Wait": ",", ",": "a", **ANSWER}
    bench = chain(script, policy=policy(GAP + 1e-4))
    heard = bench.ask()
    assert (heard.reasoning, heard.content) == ("ab~", "XY")
    assert (thought(heard).tokens, thought(heard).exit_reason) == (2, ExitReason.MARGIN)
    bench.engine.ledger.verify(Oracle(bench.directory))


@pytest.mark.parametrize("keep", list(Keep))
@pytest.mark.parametrize("words", [("Wait",), ()])
def test_a_closed_thought_replies_as_if_its_budget_had_been_spent_there(
    chain: Chain, keep: Keep, words: tuple[str, ...]
) -> None:
    form = replace(FORMAT, keep=keep, transitions=replace(FORMAT.transitions, words=words))
    closed, spent = (
        chain(WAVERING, policy=one, form=form).ask() for one in (policy(5.0), FixedPolicy(Limits(budget=3)))
    )
    assert (closed.reasoning, closed.content) == (spent.reasoning, spent.content)
    assert closed.outcome.completion_tokens == spent.outcome.completion_tokens
    assert thought(closed).ids == thought(spent).ids


def test_without_a_margin_only_thoughts_that_drew_another_token_than_their_close_are_closed(chain: Chain) -> None:
    ending = {**ENDLESS, ".\n\n": {"</think>": 0.5, "a": 0.45}}
    reasons = []
    for seed in range(12):
        heard = chain(ending, policy=policy(0.0)).ask(sampling=Sampling(temperature=1.0, seed=seed))
        reasons.append(thought(heard).exit_reason)
        if thought(heard).exit_reason is ExitReason.MARGIN:
            assert heard.reasoning.endswith("~")
    assert set(reasons) == {ExitReason.NATURAL, ExitReason.MARGIN}
    assert thought(chain(ending, policy=policy(0.0)).ask()).exit_reason is ExitReason.NATURAL
    assert thought(chain(WAVERING, policy=policy(0.0)).ask()).exit_reason is ExitReason.BUDGET


def test_a_margin_can_be_asked_for_anywhere(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(margin=50.0, every=5)))
    heard = bench.ask()
    assert (heard.reasoning, thought(heard).tokens) == ("ab.\n\nab~", 5)


def test_a_client_may_have_its_thought_left_alone(chain: Chain) -> None:
    heard = chain(WAVERING, policy=policy(50.0, budget=9)).ask(early_exit=False)
    assert (thought(heard).exit_reason, thought(heard).probes) == (ExitReason.BUDGET, 0)


@pytest.mark.parametrize("other", [{"threshold": 0.9}, {"agree": 2}])
def test_a_thought_is_probed_for_its_answer_or_for_its_margin(other: dict[str, float]) -> None:
    ((name, value),) = other.items()
    with pytest.raises(ValueError, match=rf"{name} is {value} and margin is 2\.0, must be one of them"):
        Limits(margin=2.0, **other)  # type: ignore[arg-type]
