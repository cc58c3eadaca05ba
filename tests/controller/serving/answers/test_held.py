"""A grammar holds the answer, however its thought was closed, and leaves the thought alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import ExitReason
from engine.base import Capabilities, FinishReason, Sampling, UnsupportedError
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from engine.wrapper import EngineWrapper
from models.formats.form import ClosingTexts
from models.grammar.compiling import Grammars
from models.grammar.grammar import Grammar, GrammarError, GrammarKind
from models.thinking import Keep, ThinkingFormat
from tests.controller.serving.test_closing import WAYS, by_confidence_in_its_own_words
from tests.support.serving_bench import BRIEF, END, ENDLESS, FORMAT, SURE, Bench, Heard

Chain = Callable[..., Bench]

YES_OR_NO = Grammar.choice(["yes", "no"], asked_by="guided_choice")
LONG = Grammar.json_schema({"type": "object"}, asked_by="response_format")
LED = replace(FORMAT, landing="~</think>\t")  # a tab stands between the marker and an answer
SAYS_SEVEN = {**ENDLESS, "\t": {"7": 0.9}, "7": {"8": 0.9}, "8": {END: 0.9}}  # what it says behind a closing
NUMBER = Grammar(kind=GrammarKind.REGEX, text="[0-9]{1,3}", asked_by="guided_regex")


class WithoutConstraints(EngineWrapper):
    """An engine that holds nothing to a grammar."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.engine.capabilities, constraints=False)


@pytest.mark.parametrize(("way", "why"), [each for each in WAYS if each[0] is not by_confidence_in_its_own_words])
def test_however_a_thought_was_closed_the_answer_is_of_the_grammar(
    held: Chain, way: Callable[..., Heard], why: ExitReason | None
) -> None:
    heard = way(held, grammar=YES_OR_NO)
    assert heard.content in ("yes", "no")
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.thought.exit_reason == why


def test_a_thought_that_the_model_closes_is_followed_by_the_usual_blanks(held: Chain) -> None:
    bench = held(BRIEF, form=LED)
    heard = bench.ask(grammar=YES_OR_NO)
    (account,) = bench.engine.ledger.accounts.values()
    close = account.tokens.index(bench.thinking.close_id)
    lead = tuple(bench.tokenizer.encode("\t"))
    assert tuple(account.tokens[close + 1 :][: len(lead)]) == lead
    assert heard.outcome.put_in == len(lead)
    assert (heard.reasoning, heard.outcome.thought.exit_reason) == ("abc", ExitReason.NATURAL)


def test_a_reply_without_a_thought_is_held_from_its_first_token(held: Chain) -> None:
    heard = held(BRIEF).ask(thinking=False, grammar=YES_OR_NO)
    assert heard.content in ("yes", "no")


def test_draws_are_held_too(held: Chain) -> None:
    said = {
        held(BRIEF).ask(grammar=YES_OR_NO, sampling=Sampling(temperature=1.0, seed=seed)).content for seed in range(8)
    }
    assert said == {"yes", "no"}


def test_a_sure_trial_answer_under_the_grammar_becomes_the_reply(held: Chain) -> None:
    bench = held(SAYS_SEVEN, policy=SURE, form=LED)
    heard = bench.ask(grammar=NUMBER)
    assert (heard.content, heard.outcome.finish_reason) == ("78", FinishReason.STOP)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.outcome.thought.confidence == pytest.approx(0.9, abs=0.01)  # the raw probabilities of what it took
    assert heard.checkpoints[-1].answer == "78"


def test_with_the_closing_alone_kept_the_model_writes_the_answer_anew(held: Chain) -> None:
    heard = held(SAYS_SEVEN, policy=SURE, form=replace(LED, keep=Keep.CLOSE)).ask(grammar=NUMBER)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.content.isdigit()
    assert heard.outcome.finish_reason is FinishReason.STOP


def test_a_trial_answer_that_the_grammar_goes_beyond_is_gone_on_with(held: Chain) -> None:
    """Numbers without bounds count as short ones; this one is longer than a probe."""
    endless = {**ENDLESS, "\t": {"7": 0.9}, "7": {"7": 0.9}}
    number = Grammar.json_schema({"type": "integer"}, asked_by="guided_json")
    heard = held(endless, policy=SURE, form=LED).ask(grammar=number, max_tokens=120)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert len(heard.content) > 24
    assert set(heard.content) == {"7"}
    assert heard.outcome.finish_reason is FinishReason.STOP  # any digit may be the last


def test_a_thought_whose_answer_may_be_long_is_not_probed(held: Chain) -> None:
    heard = held(ENDLESS, policy=FixedPolicy(Limits(threshold=0.01))).ask(grammar=LONG)
    assert heard.outcome.thought.probes == 0
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.content.startswith("{")
    assert heard.outcome.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("spare", [0, 1, 7])
def test_budgets_leave_room_for_the_shortest_answer(held: Chain, grammars: Grammars, spare: int) -> None:
    grammar = Grammar.json_schema({"type": "array", "items": {"type": "boolean"}, "minItems": 9}, asked_by="json")
    shortest = grammars.compiled(grammar).shortest
    assert shortest is not None
    heard = held(ENDLESS).ask(grammar=grammar, max_tokens=shortest + 40 + spare)
    assert heard.outcome.thought.tokens > 0
    assert heard.content.count(",") >= 8
    assert heard.content.endswith("]")
    assert heard.outcome.finish_reason is FinishReason.STOP


def test_an_answer_that_has_no_room_is_cut(held: Chain, grammars: Grammars) -> None:
    grammar = Grammar.choice(["a long text that takes some tokens"], asked_by="guided_choice")
    shortest = grammars.compiled(grammar).shortest
    assert shortest is not None
    cut, whole = (held(ENDLESS).ask(grammar=grammar, max_tokens=room) for room in (shortest - 1, shortest))
    assert cut.outcome.finish_reason is FinishReason.LENGTH
    assert whole.outcome.finish_reason is FinishReason.STOP
    assert whole.content.startswith(cut.content)


def test_what_cannot_be_held_is_refused_by_its_field(chain: Chain, held: Chain, grammars: Grammars) -> None:
    with pytest.raises(GrammarError, match="guided_choice: no answer is held to a grammar here"):
        chain(BRIEF).queue(grammar=YES_OR_NO)
    open_ = ThinkingFormat(
        open="", opening="", close=ClosingTexts(text=("so",)), landing="so", probe=replace(FORMAT.probe, suffix="so")
    )
    with pytest.raises(GrammarError, match="guided_choice: a thought in the open is part of the answer"):
        held(BRIEF, form=open_).queue(grammar=YES_OR_NO)
    bench = held(BRIEF)
    engine = TorchEngine(load_model(bench.directory), TorchEngineConfig(cells=4096))
    weak = Bench(bench.directory, bench.tokenizer, engine=WithoutConstraints(engine), grammars=grammars)
    with pytest.raises(UnsupportedError, match="guided_choice holds the answer to a grammar: the torch engine has no"):
        weak.queue(grammar=YES_OR_NO)
