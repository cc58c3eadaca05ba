"""Behind a closed thought the markers of thinking are banned, however it was closed, and none is ever shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from controller.policy import FixedPolicy, Limits
from controller.serving.repetition import LoopDetection
from controller.serving.request import Close, ExitReason, ReasoningRequest
from engine.base import Capabilities, Engine, FinishReason, Sampling
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from engine.wrapper import EngineWrapper
from experiments.evaluation.evaluation import evaluation_loop
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from models.thinking import Keep
from models.tokenizer import ChatTokenizer
from tests.support.serving_bench import BRIEF, END, ENDLESS, FORMAT, SURE, Bench, Heard
from tests.support.tiny_models import Oracle, save_tokenizer

Chain = Callable[..., Bench]

AGAIN = {"</think>": {"X": 0.9}, "X": {"</think>": 0.6, "<think>": 0.2, "Y": 0.1}, "Y": {END: 0.9}}
WANTS_MORE = {**ENDLESS, **AGAIN, "}": {"</think>": 0.6, END: 0.3}, "{": {"7": 0.9}}  # whatever closes its thought
SPENT = FixedPolicy(Limits(budget=4))


class WithoutBans(EngineWrapper):
    """An engine that cannot ban tokens."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.engine.capabilities, masks=False)


def by_budget(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE, policy=SPENT).ask(**how)


def before_it_began(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE).ask(budget=0, **how)


def by_the_model(chain: Chain, **how: object) -> Heard:
    return chain({**BRIEF, **AGAIN}).ask(**how)


def by_deadline(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE).ask(deadline_s=20.0, **how)


def by_request(chain: Chain, **how: object) -> Heard:
    bench = chain(WANTS_MORE)
    request, heard = bench.queue(**how)
    bench.tick(6)
    assert bench.loop.end_thought(request)
    bench.run()
    return heard


def by_confidence_in_its_own_words(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE, policy=SURE, form=replace(FORMAT, keep=Keep.CLOSE)).ask(**how)


def by_margin(chain: Chain, **how: object) -> Heard:
    wavering = {**WANTS_MORE, ".\n\n": {"a": 0.6, "</think>": 0.3}}
    return chain(wavering, policy=FixedPolicy(Limits(margin=1.0))).ask(**how)


def by_loop(chain: Chain, **how: object) -> Heard:
    loops = LoopDetection(times=3, least=12, window=40, every=4)
    return chain(WANTS_MORE, loops=loops).ask(**{"max_tokens": 200, **how})


def in_the_template(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE).ask("?<think>\n\n</think>", thinking=False, closed=True, **how)


def in_a_raw_prompt(chain: Chain, **how: object) -> Heard:
    return chain(WANTS_MORE).ask("?<think>ab</think>X", thinking=False, closed=True, **how)


FORCED = [
    (by_budget, ExitReason.BUDGET),
    (before_it_began, ExitReason.BUDGET),
    (by_deadline, ExitReason.DEADLINE),
    (by_request, ExitReason.REQUESTED),
    (by_confidence_in_its_own_words, ExitReason.CONFIDENCE),
    (by_margin, ExitReason.MARGIN),
    (by_loop, ExitReason.LOOP),
]
WAYS = [*FORCED, (by_the_model, ExitReason.NATURAL), (in_the_template, None), (in_a_raw_prompt, None)]


@pytest.mark.parametrize(("way", "why"), WAYS)
def test_however_a_thought_was_closed_no_second_marker_follows(
    chain: Chain, way: Callable[..., Heard], why: ExitReason | None
) -> None:
    heard = way(chain)
    assert heard.content == ("Y" if way is in_a_raw_prompt else "XY")  # greedy: Y is likeliest but for the markers
    assert heard.outcome.thought.exit_reason == why
    assert heard.outcome.averted == 1
    assert heard.outcome.finish_reason is FinishReason.STOP
    close = {None: Close.PROMPT, ExitReason.NATURAL: Close.MODEL}.get(why, Close.FORCED)
    assert heard.outcome.close is close


@pytest.mark.parametrize("way", [way for way, _ in WAYS])
def test_draws_obey_the_ban_too(chain: Chain, way: Callable[..., Heard]) -> None:
    averted = 0
    for seed in range(8):
        heard = way(chain, sampling=Sampling(temperature=1.0, top_k=4, seed=seed))
        assert "think>" not in heard.content
        averted += heard.outcome.averted
    assert averted > 0


def test_an_adopted_answer_is_not_followed_by_a_marker(chain: Chain) -> None:
    """The very token behind the adopted answer is the first that the ban holds for."""
    bench = chain(WANTS_MORE, policy=SURE)
    heard = bench.ask()
    assert (heard.content, heard.outcome.averted) == ("{7}", 1)
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_a_marker_in_an_adopted_answer_is_not_shown(chain: Chain) -> None:
    """Probes are decoded unbanned: their log probabilities are the model's own."""
    script = {**WANTS_MORE, "7": {"</think>": 0.9}, "</think>": {"}": 0.9}}
    bench = chain(script, policy=FixedPolicy(Limits(threshold=0.5)), form=replace(FORMAT, landing="~</think>X"))
    heard = bench.ask()
    assert "</think>" in heard.checkpoints[0].answer
    assert heard.content.startswith("{7}")
    assert "think>" not in heard.content
    assert heard.outcome.averted >= 1


def test_while_it_thinks_the_model_may_close_its_thought(chain: Chain) -> None:
    heard = chain(BRIEF).ask()
    assert (heard.reasoning, heard.content, heard.outcome.averted) == ("abc", "XY", 0)


@pytest.mark.parametrize("prompt", ["?X", "?<think>ab</think>Y<|im_end|>X"])
def test_a_raw_prompt_whose_last_turn_has_no_thought_bans_nothing(chain: Chain, prompt: str) -> None:
    script = {**ENDLESS, "X": "<think>", "<think>": "b", "b": END}
    heard = chain(script).ask(prompt, thinking=False)
    assert (heard.content, heard.outcome.averted) == ("<think>b", 0)


def test_a_closing_marker_of_an_earlier_turn_bans_nothing(chain: Chain) -> None:
    """Who has made the prompt says whose the thought in it is."""
    script = {**ENDLESS, "X": "<think>", "<think>": "b", "b": END}
    heard = chain(script).ask("?<think>ab</think>X", thinking=False, closed=False)
    assert (heard.content, heard.outcome.averted) == ("<think>b", 0)


def test_a_marker_without_a_row_is_not_banned(chain: Chain, tmp_path: Path) -> None:
    bench = chain(WANTS_MORE)
    auto = AutoTokenizer.from_pretrained(save_tokenizer(tmp_path), local_files_only=True)
    auto.add_tokens([*(f"filler{number}" for number in range(10)), "</think>again"])
    auto.save_pretrained(tmp_path)
    more = Bench(bench.directory, ChatTokenizer(tmp_path), policy=SPENT, rows=432)
    assert max(more.thinking.markers) >= 432
    assert more.ask().content == more.ask("?<think>ab</think>", thinking=False, closed=True).content == "XY"


def test_an_engine_that_cannot_ban_has_its_markers_left_out_and_counted(chain: Chain) -> None:
    bench = chain(WANTS_MORE)
    engine: Engine = TorchEngine(load_model(bench.directory), TorchEngineConfig(cells=4096))
    unbanned = Bench(bench.directory, bench.tokenizer, policy=SPENT, engine=WithoutBans(engine))
    heard = unbanned.ask(max_tokens=40)
    (account,) = unbanned.engine.ledger.accounts.values()
    markers = account.tokens.count(unbanned.thinking.close_id) - 1
    assert markers > 1
    assert heard.outcome.averted == markers
    assert set(heard.content) == {"X"}


TEMPTING = (
    "Kim 31 + 22, Max 90 + 19, Mia 31 + 74, Uma 27 + 73, Ian 28 + 20, Pam 22 + 68, Leo 37 + 42, Ned 95 + 68, "
    "Ana 50 + 85",
    "Leo 17 + 18, Mia 87 + 47, Uma 96 + 27, Ian 34 + 80, Max 13 + 32, Kim 30 + 20",
)  # sums after a third of which it would rather go on


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_bundled_model_writes_no_second_marker_when_its_budget_is_spent(temperature: float) -> None:
    """Behind a bare closing marker it would go on thinking in some replies; the landing of its format prevents that."""
    chat = load_chat_model(bundled_model())
    engine = TorchEngine(load_model(bundled_model()))
    bare = tuple(chat.tokenizer.encode("</think>\n\n"))
    averted = {}
    for landing in (bare, chat.thinking.landing):
        loop = evaluation_loop(engine, chat, Limits())
        replies = [Heard() for _ in range(16)]
        for number, heard in enumerate(replies):
            sums = f"Players and their sums: {TEMPTING[number % 2]}."
            question = f"{sums} Points are the last two digits of the sum. Who has the most?"
            prompt = chat.prompt([{"role": "user", "content": question}])
            request = ReasoningRequest(
                prompt=prompt,
                max_tokens=700,
                sampling=Sampling(temperature=temperature, seed=number),
                budget=116 + number // 2,
                landing=landing,
                early_exit=False,
            )
            loop.submit(request, heard)
        while loop.busy:
            loop.tick()
        assert {heard.outcome.thought.exit_reason for heard in replies} == {ExitReason.BUDGET}
        assert not any("think>" in heard.content for heard in replies)
        averted[landing] = sum(heard.outcome.averted for heard in replies)
    assert averted[bare] > 0  # or the questions no longer tempt it
