"""The serving loop on a real engine whose model follows a script: when thoughts end, and what the client hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import NO_THOUGHT, ExitReason, ReasoningRequest
from engine.base import CapacityError, FinishReason, Sampling
from models.thinking import Keep
from tests.support.serving_bench import ANSWER, BRIEF, END, ENDLESS, FORMAT, SURE, UNSURE, Bench, Heard

Chain = Callable[..., Bench]


@dataclass
class Switch:
    """A policy whose mind can be changed."""

    now: Limits

    def limits(self, difficulty: str | None) -> Limits:
        return self.now


# --- how a thought ends


def test_a_thought_may_end_by_itself(chain: Chain) -> None:
    heard = chain(BRIEF).ask()
    assert (heard.reasoning, heard.content) == ("abc", "XY")
    thought = heard.outcome.thought
    assert (thought.exit_reason, thought.tokens, thought.probes) == (ExitReason.NATURAL, 3, 0)
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.outcome.completion_tokens == heard.outcome.decoded_tokens == 7  # a b c </think> X Y <|im_end|>


@pytest.mark.parametrize("budget", range(1, 12))
def test_a_budget_closes_a_thought_at_exactly_the_budget(chain: Chain, budget: int) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(budget=budget)))
    heard = bench.ask()
    expected = ("ab.\n\n" * 4 if budget else "")[: len("".join(["a", "b", ".\n\n"][i % 3] for i in range(budget)))]
    assert heard.reasoning == (expected + "~").strip()
    assert heard.content == "XY"
    thought = heard.outcome.thought
    assert (thought.exit_reason, thought.budget) == (ExitReason.BUDGET, budget)
    assert thought.tokens == budget  # the landing's ~ is shown too, but was not thought
    assert heard.outcome.decoded_tokens == budget + len(["X", "Y", "<|im_end|>"])
    assert heard.outcome.rows == heard.outcome.completion_tokens == heard.outcome.decoded_tokens + heard.outcome.put_in


def test_a_budget_of_nothing_closes_the_thought_in_the_prompt(chain: Chain) -> None:
    heard = chain(ENDLESS).ask(budget=0)
    assert heard.content == "XY"
    assert "a" not in heard.reasoning
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert heard.outcome.completion_tokens == heard.outcome.decoded_tokens == 3
    assert heard.outcome.sent_tokens == chain(ENDLESS).ask().outcome.prompt_tokens < heard.outcome.prompt_tokens


def test_the_clients_budget_replaces_the_policys(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(budget=9)))
    assert bench.ask(budget=2).reasoning == "ab~"
    assert bench.ask(budget=4).reasoning == "ab.\n\na~"


def test_thinking_can_be_switched_off(chain: Chain) -> None:
    heard = chain({**ENDLESS, "?": "X"}).ask(thinking=False)
    assert (heard.reasoning, heard.content) == ("", "XY")
    assert heard.outcome.thought is NO_THOUGHT


def test_a_prompt_that_has_begun_the_thought_is_not_opened_again(chain: Chain) -> None:
    heard = chain(BRIEF).ask("?<think>\n")
    assert (heard.reasoning, heard.outcome.prompt_tokens) == ("abc", 3)


def test_a_confident_thought_is_closed_at_the_first_transition(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=SURE).ask()
    assert (heard.reasoning, heard.content) == ("ab.\n\n~", "{7}")
    thought = heard.outcome.thought
    assert (thought.exit_reason, thought.threshold, thought.probes) == (ExitReason.CONFIDENCE, 0.85, 1)
    assert thought.confidence == pytest.approx(0.9, rel=1e-4)
    assert thought.tokens == 3  # the suffix's ~ is shown too
    assert thought.withdrawn_tokens > 0  # decoded on while the probe ran
    assert thought.probe_rows == 0  # its rows are the reply's now
    assert heard.outcome.completion_tokens == len("ab¶~") + len(["</think>", "{", "7", "}", END])
    assert heard.outcome.decoded_tokens == len("ab¶") + len(["7", "}", END])  # the suffix is the loop's
    (checkpoint,) = heard.checkpoints
    assert (checkpoint.thought_tokens, checkpoint.answer) == (3, "7")


def test_a_closed_thought_replies_as_if_the_suffix_had_been_forced_there(chain: Chain) -> None:
    sure = chain(ENDLESS, policy=SURE)
    sequence, heard = sure.submit()
    sure.run()
    forced = chain(ENDLESS, policy=FixedPolicy(Limits(budget=3)), form=replace(FORMAT, landing=FORMAT.probe.suffix))
    assert heard.content == forced.ask().content
    assert sure.kept(sequence) == forced.kept(next(iter(forced.engine.ledger.accounts)))


def test_keeping_only_the_close_lets_the_model_answer_in_its_own_words(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=SURE, form=replace(FORMAT, keep=Keep.CLOSE)).ask()
    assert (heard.reasoning, heard.content) == ("ab.\n\n~", "XY")
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE


def test_an_unsure_thought_goes_on_to_its_budget(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.95, budget=20)))
    heard = bench.ask()
    thought = heard.outcome.thought
    assert (thought.exit_reason, thought.tokens, thought.withdrawn_tokens) == (ExitReason.BUDGET, 20, 0)
    assert thought.probes > 1
    assert thought.probe_rows >= 3 * thought.probes  # each cost at least its suffix
    assert heard.reasoning.startswith("ab.\n\nab.\n\n")


def test_a_threshold_beyond_certainty_probes_but_never_closes(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=1.01, budget=20))).ask()
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET
    assert {checkpoint.gave_up for checkpoint in heard.checkpoints} == {False}
    assert heard.checkpoints[0].confidence == pytest.approx(0.9, rel=1e-4)


def test_a_watcher_is_told_how_probable_the_answer_is_as_a_whole(chain: Chain) -> None:
    two_tokens = {**ENDLESS, "7": {"5": 0.6}, "5": {"}": 0.8}}
    heard = chain(two_tokens, policy=FixedPolicy(Limits(threshold=1.01, budget=20))).ask()
    assert heard.checkpoints[0].answer == "75"
    assert heard.checkpoints[0].joint == pytest.approx(0.9 * 0.6, rel=1e-4)
    assert heard.checkpoints[0].confidence == pytest.approx((0.9 * 0.6) ** 0.5, rel=1e-4)


def test_a_client_may_have_its_thought_left_alone(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.1, budget=9))).ask(early_exit=False)
    assert (heard.outcome.thought.exit_reason, heard.outcome.thought.probes) == (ExitReason.BUDGET, 0)


@pytest.mark.parametrize(("gap", "asked_at"), [(1, [3, 6, 9, 12, 15]), (7, [9, 18, 27]), (10, [12, 24])])
def test_probes_keep_their_distance(chain: Chain, gap: int, asked_at: list[int]) -> None:
    form = replace(FORMAT, transitions=replace(FORMAT.transitions, min_gap=gap))
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=1.01, budget=35)), form=form)
    asked = [checkpoint.thought_tokens for checkpoint in bench.ask().checkpoints]
    assert asked[: len(asked_at)] == asked_at


def test_a_cue_word_is_withdrawn_with_what_followed_it(chain: Chain) -> None:
    script = {"\n": "a", "a": " Wait", " Wait": ",", ",": "c", "c": "a", **ANSWER}
    bench = chain(script, policy=SURE)
    sequence, heard = bench.submit()
    bench.run()
    assert heard.reasoning == "a~"
    assert bench.kept(sequence)[0] == bench.tokenizer.encode("a~")
    assert heard.outcome.thought.withdrawn_tokens >= 2


def test_a_thought_that_closes_itself_while_probed_stays_as_it_was(chain: Chain) -> None:
    script = {"\n": "a", "a": ".\n\n", ".\n\n": "c", "c": "</think>", **ANSWER}
    heard = chain(script, policy=SURE).ask()
    assert (heard.reasoning, heard.content) == ("a.\n\nc", "XY")
    assert heard.outcome.thought.exit_reason is ExitReason.NATURAL


def test_a_probe_that_a_spent_budget_stops_is_paid_for(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.85, budget=4))).ask()
    assert (heard.outcome.thought.probes, heard.checkpoints) == (1, [])
    assert heard.outcome.thought.probe_rows >= 3


def test_a_verdict_in_the_step_that_spends_the_budget_still_counts(chain: Chain) -> None:
    sure = chain(ENDLESS, policy=SURE).ask()
    budget = sure.outcome.thought.tokens + sure.outcome.thought.withdrawn_tokens
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.85, budget=budget))).ask()
    assert (heard.outcome.thought.exit_reason, heard.content) == (ExitReason.CONFIDENCE, "{7}")


def test_a_budget_spent_while_probed_closes_the_thought(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.85, budget=4))).ask()
    assert heard.reasoning == "ab.\n\na~"
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET


# --- policies act on what runs


def test_a_new_budget_acts_on_running_thoughts(chain: Chain) -> None:
    policy = Switch(Limits())
    bench = chain(ENDLESS, policy=policy)
    _, heard = bench.submit()
    bench.tick(8)
    policy.now = Limits(budget=5)
    bench.run()
    assert heard.reasoning == "ab.\n\n" * 3 + "~"  # closed with the very next token, the ninth
    assert (heard.outcome.thought.exit_reason, heard.outcome.thought.budget) == (ExitReason.BUDGET, 5)


def test_a_new_threshold_acts_on_running_thoughts(chain: Chain) -> None:
    policy = Switch(Limits(threshold=0.95))
    bench = chain(ENDLESS, policy=policy)
    _, heard = bench.submit()
    bench.tick(8)
    policy.now = Limits(threshold=0.85)
    bench.run()
    assert (heard.outcome.thought.exit_reason, heard.outcome.thought.threshold) == (ExitReason.CONFIDENCE, 0.85)
    assert heard.content == "{7}"


def test_a_threshold_raised_while_a_probe_runs_holds_for_its_verdict(chain: Chain) -> None:
    policy = Switch(Limits(threshold=0.85, budget=12))
    bench = chain(ENDLESS, policy=policy)
    _, heard = bench.submit()
    while not bench.engine.load().probing:
        bench.tick()
    policy.now = Limits(threshold=0.95, budget=12)
    bench.run()
    assert heard.outcome.thought.exit_reason is ExitReason.BUDGET


# --- max_tokens


@pytest.mark.parametrize("policy", [FixedPolicy(Limits()), SURE, UNSURE], ids=["full", "sure", "unsure"])
@pytest.mark.parametrize("keep", list(Keep))
def test_no_answer_is_ever_empty_however_few_tokens_there_are(chain: Chain, policy: FixedPolicy, keep: Keep) -> None:
    """Against a model that would think for ever, and one that would rather end before it has said anything."""
    eager = {**ENDLESS, "</think>": {END: 0.7, "X": 0.2}, "?": {END: 0.7, "X": 0.2}, "{": {END: 0.05, "7": 0.9}}
    bench = chain(eager, policy=policy, form=replace(FORMAT, keep=keep))
    heard = [
        (max_tokens, bench.submit(max_tokens=max_tokens, thinking=thinking)[1])
        for max_tokens in range(1, 61)
        for thinking in (True, False)
    ]
    bench.run()
    for max_tokens, client in heard:
        assert client.content
        assert 1 <= client.outcome.completion_tokens <= max_tokens
        assert client.outcome.error is None


def test_a_request_longer_than_the_model_can_hold_is_refused(chain: Chain) -> None:
    bench = chain(BRIEF)
    room = bench.loop.room
    with pytest.raises(CapacityError, match=rf"3 tokens and max_tokens is {room}: together {room + 3}, .* {room}"):
        bench.submit(max_tokens=room)
    assert not bench.loop.busy


def test_the_longest_request_that_is_accepted_is_served(chain: Chain) -> None:
    bench = chain(BRIEF)
    assert bench.ask(max_tokens=bench.loop.room - 3).content == "XY"


def test_a_reply_cut_off_by_max_tokens_says_so(chain: Chain) -> None:
    heard = chain({"?": "X", "X": "Y", "Y": "X"}).ask(thinking=False, max_tokens=5)
    assert (heard.content, heard.outcome.finish_reason) == ("XYXYX", FinishReason.LENGTH)


# --- stop strings, cancellation, failure


def test_a_stop_string_over_two_tokens_ends_the_reply(chain: Chain) -> None:
    bench = chain({"?": "X", "X": "Y", "Y": "Z", "Z": "X"})
    heard = bench.ask(thinking=False, stop=("YZ",))
    assert (heard.content, heard.outcome.finish_reason) == ("X", FinishReason.STOP)


def test_a_stop_string_in_an_adopted_answer_ends_the_reply(chain: Chain) -> None:
    heard = chain(ENDLESS, policy=SURE).ask(stop=("7",))
    assert (heard.content, heard.outcome.finish_reason) == ("{", FinishReason.STOP)


def test_rows_behind_a_stop_string_in_an_adopted_answer_are_its_probes(chain: Chain) -> None:
    answer = {**ENDLESS, "{": {"7": 1.0}, "7": {"8": 1.0}, "8": {"}": 1.0}}
    heard = chain(answer, policy=SURE).ask(stop=("7",))
    thought = heard.outcome.thought
    assert heard.content == "{"
    beyond_the_thought = heard.outcome.completion_tokens - thought.tokens + thought.probe_rows
    # the answer's last token has a row of its own: the probe has sampled it, the next step decodes it
    assert beyond_the_thought == sum(checkpoint.rows for checkpoint in heard.checkpoints) + 1


def test_no_stop_string_counts_in_the_words_before_an_answer(chain: Chain) -> None:
    whole = chain(ENDLESS, policy=SURE).ask()
    assert whole.content.startswith("{")
    heard = chain(ENDLESS, policy=SURE).ask(stop=("{",))
    assert heard.content == whole.content
    landing = replace(FORMAT, landing=FORMAT.probe.suffix)
    cut = chain(ENDLESS, policy=FixedPolicy(Limits(budget=3)), form=landing).ask(stop=("{",))
    assert cut.content.startswith("{")
    assert len(cut.content) > 1


def test_a_cancelled_request_is_heard_of_no_more(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=UNSURE)
    first, gone = bench.submit()
    _, stays = bench.submit(budget=9)
    bench.tick(5)
    bench.cancel(first)
    said = len(gone.deltas)
    bench.run()
    assert (len(gone.deltas), gone.outcomes) == (said, [])
    assert stays.content == "XY"
    bench.cancel(first)  # again: nothing happens


def test_a_cancelled_request_in_the_queue_is_never_begun(chain: Chain) -> None:
    bench = chain(BRIEF, max_batch=1)
    _, runs = bench.submit()
    waits, gone = bench.submit()
    bench.tick()
    bench.cancel(waits)
    bench.run()
    assert runs.content == "XY"
    assert (gone.deltas, gone.outcomes) == ([], [])


def test_a_request_that_fails_takes_no_other_with_it(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=SURE)
    asked = tuple(bench.thinking.prompt(bench.tokenizer.encode("?"), thinking=True))

    def broken(_: object) -> None:
        raise OSError("the observer's disk is full")

    spoiled, fine = Heard(), Heard()
    bench.loop.submit(ReasoningRequest(prompt=asked, max_tokens=60), spoiled, broken)
    bench.loop.submit(ReasoningRequest(prompt=asked, max_tokens=60), fine)
    bench.run()
    assert spoiled.outcome.finish_reason is FinishReason.ERROR
    assert spoiled.outcome.error == "OSError: the observer's disk is full"
    assert fine.content == "{7}"


def test_when_the_engine_fails_every_request_ends_with_the_error(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=UNSURE, max_batch=2)
    heard = [bench.submit()[1] for _ in range(3)]
    bench.tick(6)
    bench.loop.fail_all("out of memory")
    assert not bench.loop.busy
    assert bench.engine.load().cells_reserved == 0
    for client in heard:
        assert (client.outcome.finish_reason, client.outcome.error) == (FinishReason.ERROR, "out of memory")


def test_time_in_the_queue_is_told(chain: Chain) -> None:
    bench = chain(BRIEF, max_batch=1)
    _, first = bench.submit()
    _, second = bench.submit()
    bench.run()
    assert first.outcome.queue_s == 0.0
    assert second.outcome.queue_s == first.outcome.total_s + 1.0  # begun in the step after the first has ended
    assert second.outcome.total_s > second.outcome.queue_s


def test_one_request_does_not_change_anothers_draws(chain: Chain) -> None:
    script = {
        "\n": {"a": 0.5, "b": 0.5},
        "a": {"b": 0.4, "\n": 0.4, "</think>": 0.1},
        "b": {"a": 0.5, "\n": 0.4},
        **ANSWER,
    }
    sampling = Sampling(temperature=1.0, top_k=5, seed=3)
    alone = chain(script).ask(sampling=sampling)
    bench = chain(script, policy=FixedPolicy(Limits()))
    crowd = [bench.submit(sampling=replace(sampling, seed=seed))[1] for seed in range(6)]
    bench.run()
    assert crowd[3].reasoning == alone.reasoning
    assert len({client.reasoning for client in crowd}) > 1
