"""Thoughts that are given up: closed at once with their best trial answer, and not before the curve begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.reply import Channel
from controller.serving.request import Close, ExitReason
from models.formats.form import ChoiceFormat
from models.kinds.kind import AnswerForm, AnswerKind
from models.profile.give_up import GiveUpCurve, GiveUpLimit
from models.thinking import Keep
from models.tokenizer import ChatTokenizer
from tests.support.serving_bench import BRIEF, CUES, ENDLESS, FORMAT, Bench
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]

# the scripted answer's confidence is 0.9: below the curve once 0.95·(1 − exp(−(t/m − 1/3)/0.1)) is above it
STEEP = GiveUpCurve(height=0.95, rise=0.1)


def giving_up(median: float, **limits: object) -> Limits:
    return Limits(threshold=0.99, give_up=GiveUpLimit(curve=STEEP, median=median), **limits)  # type: ignore[arg-type]


def test_a_thought_below_the_curve_is_closed_at_once_with_its_best_trial(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(giving_up(3.0)))
    heard = bench.ask()
    thought = heard.outcome.thought
    assert (thought.exit_reason, heard.content) == (ExitReason.HOPELESS, "{7}")
    assert heard.outcome.close is Close.FORCED
    assert thought.confidence == pytest.approx(0.9, abs=0.01)
    assert thought.tried_at is not None
    assert thought.tokens < 10
    bench.engine.ledger.verify(Oracle(bench.directory))
    every = heard.outcome.completion_tokens + thought.withdrawn_tokens + thought.probe_rows
    assert every == heard.outcome.rows


def test_before_a_third_of_the_median_no_thought_is_given_up(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(giving_up(60.0)))
    heard = bench.ask(max_tokens=100)
    assert heard.outcome.thought.exit_reason == ExitReason.HOPELESS
    assert heard.outcome.thought.tokens >= 20
    assert len(heard.checkpoints) > 3  # it was as unsure all the time


def test_a_sure_answer_ends_a_thought_as_ever(chain: Chain) -> None:
    limits = replace(giving_up(3.0), threshold=0.85)
    assert chain(ENDLESS, policy=FixedPolicy(limits)).ask().outcome.thought.exit_reason == ExitReason.CONFIDENCE


def test_a_thought_that_ends_before_is_not_given_up(chain: Chain) -> None:
    heard = chain(BRIEF, policy=FixedPolicy(giving_up(3.0))).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.NATURAL, "XY")
    assert heard.outcome.thought.tried_at is None


@pytest.mark.parametrize("unprobed", [{"early_exit": False}, {"answer": AnswerKind.CODE}])
def test_who_is_not_probed_is_not_given_up(chain: Chain, unprobed: dict[str, object]) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(giving_up(3.0, budget=12))).ask(**unprobed)
    assert heard.outcome.thought.exit_reason == ExitReason.BUDGET
    assert heard.outcome.thought.probes == 0


def test_where_the_model_writes_its_answer_itself_it_does_so_here_too(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(giving_up(3.0)), form=replace(FORMAT, keep=Keep.CLOSE)).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.HOPELESS, "XY")
    assert heard.outcome.thought.tried_at is None


def test_an_earlier_trial_that_was_surer_is_the_answer(
    random_model: Path, random_oracle: Oracle, tokenizer: ChatTokenizer
) -> None:
    """A random model is now more, now less sure."""
    sudden = GiveUpLimit(curve=GiveUpCurve(height=0.99, rise=0.01), median=60.0)
    limits = Limits(threshold=1.0, give_up=sudden, every=5)
    bench = Bench(random_model, tokenizer, policy=FixedPolicy(limits))
    earlier = 0
    for prompt in ("the answer", "and so", "it is", "who", "what then", "ever"):
        sequence, heard = bench.submit(prompt, max_tokens=120, log_probs=2)
        bench.run()
        thought = heard.outcome.thought
        if thought.exit_reason != ExitReason.HOPELESS:
            continue
        whole = [seen for seen in heard.checkpoints if not seen.gave_up]
        best = max(whole, key=lambda seen: (seen.confidence, seen.thought_tokens))
        assert (thought.tried_at, thought.confidence) == (best.thought_tokens, best.confidence)
        tokens = bench.engine.ledger.accounts[sequence].tokens
        behind = tokens[thought.tokens + len(bench.thinking.probe_suffix) :]
        assert tokenizer.decode(behind).startswith(best.answer)
        told = [score for delta in heard.deltas if delta.channel is Channel.CONTENT for score in delta.scores]
        read = list(zip(behind, best.log_probs, strict=False))
        assert [(score.token, pytest.approx(score.log_prob)) for score in told[: len(read)]] == read
        earlier += best is not heard.checkpoints[-1]
    bench.engine.ledger.verify(random_oracle)
    assert earlier > 0  # or the best trial is always the last here, and nothing was tried


def test_a_sure_choice_that_is_cut_at_its_longest_gives_no_thought_up(
    random_model: Path, tokenizer: ChatTokenizer
) -> None:
    low = GiveUpLimit(curve=GiveUpCurve(height=1e-6, rise=0.01), median=6.0)  # below all answers with a token
    form = replace(FORMAT, choice=ChoiceFormat(suffix="~</think>[", stops=CUES.words, max_answer_tokens=2))
    bench = Bench(random_model, tokenizer, policy=FixedPolicy(Limits(threshold=1.0, give_up=low, every=5)), form=form)
    cut_after_whole = 0
    for prompt in ("the answer", "and so", "it is", "who", "what then", "ever"):
        heard = bench.ask(prompt, max_tokens=120, form=AnswerForm.CHOICE)
        whole = [len(seen.log_probs) < 2 for seen in heard.checkpoints]
        cut_after_whole += any(whole) and not all(whole[whole.index(True) :])
        assert (heard.outcome.thought.exit_reason == ExitReason.HOPELESS) == (not heard.checkpoints[-1].log_probs)
    assert cut_after_whole > 0  # or nothing was tried


class Rising:
    """A policy whose thoughts may be given up from the moment that it is told so."""

    def __init__(self) -> None:
        self.now = Limits(threshold=0.99)

    def limits(self, difficulty: str | None) -> Limits:
        return self.now


def test_running_thoughts_obey_a_curve_that_comes_into_force(chain: Chain) -> None:
    policy = Rising()
    bench = chain(ENDLESS, policy=policy)
    _, heard = bench.queue()
    bench.tick(16)
    assert not heard.outcomes
    policy.now = giving_up(3.0)
    bench.tick(12)
    bench.run()
    assert heard.outcome.thought.exit_reason == ExitReason.HOPELESS
    assert 10 < heard.outcome.thought.tokens < 30


def test_a_curve_stands_beside_a_threshold_alone() -> None:
    limit = GiveUpLimit(curve=STEEP, median=3.0)
    for others in ({}, {"threshold": 0.9, "agree": 2}, {"threshold": 0.9, "exits": {"x:Y": 0.5}}, {"margin": 1.0}):
        with pytest.raises(ValueError, match="give_up is given, must stand beside a threshold and no other signal"):
            Limits(give_up=limit, **others)  # type: ignore[arg-type]
    assert Limits(threshold=0.9, give_up=limit).unprobed() == Limits()
