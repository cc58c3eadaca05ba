"""Several replies to one request, and where a client wants its replies to end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.reply import Channel, Delta
from controller.serving.request import ExitReason, Outcome, ReasoningRequest, RequestId
from engine.base import EngineError, FinishReason, Sampling, SequenceId
from laser.server.dashboard.history import StatusHistory
from models.kinds.kind import AnswerKind
from models.tokenizer import ChatTokenizer
from tests.controller.serving.answers.test_held import LED, NUMBER, SAYS_SEVEN
from tests.support.parrot_bench import parrot, spelled
from tests.support.row_counts import counting
from tests.support.serving_bench import ANSWER, BRIEF, ENDLESS, FORMAT, SURE, Bench, Heard
from tests.support.statuses import CONTROLLER

Chain = Callable[..., Bench]
WAYS = {"\n": {"a": 0.5, "b": 0.4}, "a": {"b": 0.5, "</think>": 0.4}, "b": {"a": 0.5, "</think>": 0.4}, **ANSWER}
DRAWN = Sampling(temperature=1.0, seed=7)


class Choices:
    """What a client has heard of each of its choices."""

    def __init__(self) -> None:
        self.heard: dict[int, Heard] = defaultdict(Heard)

    def __call__(self, news: Delta | Outcome) -> None:
        self.heard[news.choice](news)

    @property
    def outcomes(self) -> list[Outcome]:
        return [self.heard[choice].outcome for choice in sorted(self.heard)]


def ask(bench: Bench, choices: int, **options: object) -> tuple[RequestId, Choices]:
    """Submit a request for several replies."""
    heard = Choices()
    prompt = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True)
    request = ReasoningRequest(**{"prompt": prompt, "max_tokens": 60, "choices": choices, **options})  # type: ignore[arg-type]
    return bench.loop.submit(request, heard), heard


# --- several replies


def test_each_choice_is_the_reply_that_its_seed_alone_would_get(chain: Chain) -> None:
    bench = chain(WAYS)
    _, heard = ask(bench, 4, sampling=DRAWN)
    bench.run()
    alone = [bench.ask(sampling=replace(DRAWN, seed=7 + choice)) for choice in range(4)]
    assert [(heard.heard[choice].reasoning, heard.heard[choice].content) for choice in range(4)] == [
        (each.reasoning, each.content) for each in alone
    ]
    assert len({each.reasoning for each in alone}) > 1  # else nothing is shown
    assert all(outcome.reproducible for outcome in heard.outcomes)


def test_the_prompt_counts_once_and_the_last_reply_ends_the_request(chain: Chain) -> None:
    bench = chain(WAYS)
    _, heard = ask(bench, 3, sampling=DRAWN)
    bench.run()
    outcomes = heard.outcomes
    assert [outcome.sent_tokens > 0 for outcome in outcomes] == [True, False, False]
    assert sorted(outcome.going_on for outcome in outcomes) == [0, 1, 2]
    status = bench.loop.status()
    assert (status.arrived, status.finished, len(status.ended)) == (1, 1, 3)


@pytest.mark.parametrize("max_batch", [8, 3])
def test_eight_choices_prefill_their_prompt_once(chain: Chain, max_batch: int) -> None:
    bench = chain(WAYS, max_batch=max_batch)
    rows, prompt = counting(bench.engine._engine), "?" + "ab " * 60
    tokens = bench.thinking.prompt(tuple(bench.tokenizer.encode(prompt)), thinking=True)
    _, heard = ask(bench, 8, prompt=tokens, sampling=DRAWN)
    bench.run()
    decoded = sum(outcome.completion_tokens for outcome in heard.outcomes)
    assert len(tokens) > 100
    assert rows() <= len(tokens) - 1 + decoded  # the prompt's last token is each choice's own first row


def test_choices_wait_for_one_turn_and_pay_for_all(chain: Chain) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=2, max_waiting=1), max_batch=2)
    ask(bench, 1, max_tokens=30, claim=Claim(tenant="a"))
    ask(bench, 1, max_tokens=30, claim=Claim(tenant="a"))
    bench.tick()
    _, several = ask(bench, 3, max_tokens=30, claim=Claim(tenant="b"), name="many")
    bench.tick(2)
    assert bench.loop.queue.waiting == 1
    bench.run()
    assert [outcome.finish_reason for outcome in several.outcomes] == [FinishReason.STOP] * 3


def test_a_request_that_fails_as_its_first_choice_begins_is_charged_for_nothing(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    prompt, heard = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True), Choices()

    def fail() -> None:
        raise RuntimeError("nobody is told")

    request = ReasoningRequest(prompt=prompt, max_tokens=60, choices=3, claim=Claim(tenant="a"))
    bench.loop.submit(request, heard, on_begin=fail)
    assert [outcome.error for outcome in heard.outcomes] == ["RuntimeError: nobody is told"] * 3
    order = [ask(bench, 1, claim=Claim(tenant=tenant), name=tenant)[1] for tenant in ("first", "a", "b")]
    bench.tick()
    assert [name for name, _ in bench.loop.queue.turns] == ["a", "b"]  # who has paid before comes after
    bench.run()
    assert [one.outcomes[0].finish_reason for one in order] == [FinishReason.STOP] * 3


def test_a_request_that_goes_takes_all_its_replies_along(chain: Chain) -> None:
    bench = chain(ENDLESS)
    number, heard = ask(bench, 3)
    bench.tick(4)
    costs = bench.loop.cancel(number)
    assert len(costs) == 3
    assert [cost.prompt_tokens > 0 for cost in costs] == [True, False, False]
    assert not bench.loop.busy
    assert not any(each.outcomes for each in heard.heard.values())
    assert bench.loop.cancel(number) == []
    bench.run()  # and the engine holds nothing


def test_one_reply_that_fails_leaves_the_others(chain: Chain) -> None:
    bench = chain(ENDLESS)
    _, heard = ask(bench, 3)
    bench.tick(2)
    lead, *_ = bench.engine.ledger.accounts
    bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(lead))
    bench.run()
    assert [outcome.finish_reason for outcome in heard.outcomes] == [FinishReason.ERROR, *[FinishReason.STOP] * 2]
    assert heard.outcomes[0].going_on == 2


def test_all_thoughts_of_a_request_are_ended_by_one_call(chain: Chain) -> None:
    bench = chain(ENDLESS)
    number, heard = ask(bench, 2)
    bench.tick(3)
    assert bench.loop.end_thought(number)
    bench.run()
    assert {outcome.thought.exit_reason for outcome in heard.outcomes} == {ExitReason.REQUESTED}
    assert not any(outcome.reproducible for outcome in heard.outcomes)


# --- where a reply ends


@pytest.mark.parametrize("least", [0, 6, 7, 15])
def test_a_reply_has_the_tokens_that_it_must_have(chain: Chain, least: int) -> None:
    natural = 6  # a b c </think> X Y, and the end behind them
    heard = chain(BRIEF).ask(min_tokens=least)
    assert heard.outcome.completion_tokens > max(least, natural)
    assert (heard.content == "XY") is (least <= natural)
    with pytest.raises(ValueError, match="min_tokens is 61, must lie in 0…60"):
        chain(BRIEF).ask(min_tokens=61)


def test_an_adopted_answer_too_goes_on_until_it_is_long_enough(chain: Chain) -> None:
    assert chain(ENDLESS, policy=SURE).ask().outcome.finish_reason is FinishReason.STOP
    heard = chain(ENDLESS, policy=SURE).ask(min_tokens=40)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.outcome.decoded_tokens >= 40


def test_a_reply_without_an_end_goes_on_to_its_limit(chain: Chain) -> None:
    heard = chain(BRIEF).ask(endless=True, max_tokens=30)
    assert (heard.outcome.finish_reason, heard.outcome.completion_tokens) == (FinishReason.LENGTH, 30)
    assert heard.content.startswith("XY")
    assert chain(BRIEF).ask(endless=True, stop=("Y",)).content == "X"


def test_a_stop_token_ends_the_answer_and_not_the_thought(chain: Chain) -> None:
    bench = chain(BRIEF)
    (b,), (y,) = bench.tokenizer.encode("b"), bench.tokenizer.encode("Y")
    heard = bench.ask(stop_ids=frozenset({b, y}))
    assert (heard.reasoning, heard.content) == ("abc", "X")
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert bench.ask(stop_ids=frozenset({y}), endless=True).content == "X"
    (x,) = bench.tokenizer.encode("X")
    assert bench.ask(stop_ids=frozenset({x})).content == "XY"  # no reply is empty


def test_stop_strings_wait_for_the_least_length(chain: Chain) -> None:
    assert chain(BRIEF).ask(stop=("Y",), min_tokens=6).content == "XY"
    assert chain(BRIEF).ask(stop=("Y",), min_tokens=5).content == "X"


# --- exits that a request fixes


def test_a_request_s_own_limits_stand_in_for_the_policy_s(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.95, budget=20)))
    thought = bench.ask(fixed=Limits(threshold=0.85)).outcome.thought
    assert (thought.exit_reason, thought.threshold) == (ExitReason.CONFIDENCE, 0.85)
    thought = bench.ask(fixed=Limits(budget=5)).outcome.thought
    assert (thought.exit_reason, thought.tokens, thought.probes) == (ExitReason.BUDGET, 5, 0)


class Loaded:
    """An observer: with one, the policy's limits may depend on the load."""

    def arrived(self, difficulty: str | None) -> None:
        self.seen = getattr(self, "seen", 0) + 1

    def finished(self, difficulty: str | None, tokens: int) -> None: ...

    def stepped(self, batch: int, context: float, seconds: float) -> None: ...

    def tick(self, now: float, in_system: int) -> None: ...


def test_a_reply_is_reproducible_where_its_exit_depends_on_no_load(chain: Chain) -> None:
    observer = Loaded()
    bench = chain(ENDLESS, policy=SURE, observer=observer)
    assert not bench.ask().outcome.reproducible
    assert bench.ask(fixed=Limits(threshold=0.85)).outcome.reproducible
    assert bench.ask(budget=5, early_exit=False).outcome.reproducible
    assert not bench.ask(fixed=Limits(threshold=0.85), deadline_s=1e6).outcome.reproducible
    ask(bench, 3)
    assert observer.seen == 7  # each choice is load
    bench.run()


def test_what_an_engine_lacks_is_refused_before_the_request_waits(tokenizer: ChatTokenizer) -> None:
    bench = parrot(tokenizer, spelled(tokenizer, "ab"), FORMAT)
    assert not bench.engine.capabilities.token_log_probs
    with pytest.raises(EngineError, match="log_probs is 2, must be None: the parrot engine has no log probabilities"):
        bench.ask(log_probs=2)
    assert not bench.loop.busy


# --- beside what else a request may ask


def test_each_choice_is_held_by_a_matcher_of_its_own_and_tells_raw_probabilities(held: Chain) -> None:
    bench = held(WAYS)
    _, heard = ask(bench, 4, sampling=DRAWN, grammar=NUMBER, log_probs=1)
    bench.run()
    alone = [bench.ask(sampling=replace(DRAWN, seed=7 + choice), grammar=NUMBER, log_probs=1) for choice in range(4)]
    replies = [heard.heard[choice] for choice in range(4)]
    assert [reply.deltas for reply in replies] == [
        [replace(delta, choice=choice) for delta in each.deltas] for choice, each in enumerate(alone)
    ]
    assert len({reply.content for reply in replies}) > 1
    for reply in replies:
        assert reply.content.isdigit()
        assert len(reply.content) <= 3
        scores = [score for delta in reply.deltas if delta.channel is Channel.CONTENT for score in delta.scores]
        assert bench.tokenizer.decode([score.token for score in scores]) == reply.content
        assert all(score.log_prob <= score.likeliest[0][1] <= 0 for score in scores)  # before masks: any token may lead


def test_each_choice_under_a_grammar_has_its_own_trial_answer(held: Chain) -> None:
    bench = held(SAYS_SEVEN, policy=SURE, form=LED)
    _, heard = ask(bench, 3, grammar=NUMBER)
    bench.run()
    assert [each.content for each in heard.heard.values()] == ["78"] * 3
    assert {outcome.thought.exit_reason for outcome in heard.outcomes} == {ExitReason.CONFIDENCE}


def test_a_limit_of_the_clients_holds_for_any_kind_of_answer_and_probes_only_what_may_be_tried(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=SURE, certified=frozenset({AnswerKind.SHORT}))
    own = Limits(threshold=0.5, budget=6)
    short, code = bench.ask(fixed=own, answer=AnswerKind.SHORT), bench.ask(fixed=own, answer=AnswerKind.CODE)
    assert short.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert (code.outcome.thought.exit_reason, code.outcome.thought.tokens) == (ExitReason.BUDGET, 6)
    assert code.outcome.thought.probes == 0
    assert short.outcome.reproducible
    assert code.outcome.reproducible


def test_a_record_has_each_choice_whenever_it_ends(chain: Chain) -> None:
    """The page's own, which is fed with looks at the loop."""
    bench = chain(WAYS)
    history = StatusHistory(model="m")
    ask(bench, 4, sampling=DRAWN)
    ask(bench, 1, sampling=replace(DRAWN, seed=1))
    news = []
    while bench.loop.busy:
        bench.tick()
        history.add(bench.loop.status(), CONTROLLER)
        told = history.status(since=history.number - 1)
        assert told is not None
        news += [told.ended] if told.ended else []
    assert len(news) > 2
    assert sorted(each.number for ended in news for each in ended) == [1, 2, 3, 4, 5]


def test_a_reply_that_the_engine_cannot_end_leaves_no_other_of_its_request_behind(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=8))
    number, _ = ask(bench, 3)
    bench.tick(3)
    assert bench.engine.load().running == 3
    cancel, cancelled = bench.engine.cancel, list[SequenceId]()

    def stuck(sequence: SequenceId) -> None:
        cancelled.append(sequence)
        cancel(sequence)
        if len(cancelled) == 1:
            raise RuntimeError("it says that it goes on")

    monkeypatch.setattr(bench.engine, "cancel", stuck)
    with pytest.raises(RuntimeError, match="it says that it goes on"):
        bench.loop.cancel(number)
    assert len(cancelled) == 3
    assert not bench.loop.busy
    assert bench.engine.load().running == 0
